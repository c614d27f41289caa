#!/bin/sh
# `npm test [-- unit|data|cluster …]`: installs what is missing, runs the tiers, says how many passed. All tiers unless
# told. Files: *.cluster.test.ts and *.data.test.ts belong to these tiers, every other *.test.ts is a unit test.
set -eu
cd "$(dirname "$0")/.."
tiers=${*:-unit data cluster}
for tier in $tiers; do
  case $tier in
    unit | data | cluster) ;;
    *) echo "no such tier: $tier (unit, data, cluster)" >&2; exit 2 ;;
  esac
done
# shellcheck disable=SC2086
sh test/setup/install.sh $tiers
PATH=$PWD/node_modules/.bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH
counts=$(mktemp -d)
trap 'rm -rf "$counts"' EXIT

files_of() {
  case $1 in
    unit) find test -name '*.test.ts' ! -name '*.data.test.ts' ! -name '*.cluster.test.ts' ;;
    *) find test -name "*.$1.test.ts" ;;
  esac | sort
}

# run_files TIER PARALLEL FILE…: their output goes to stdout, their counts to a file of the tier's name.
run_files() {
  to=$counts/$1 parallel=$2
  shift 2
  node --test --test-concurrency="$parallel" --test-timeout=900000 \
    --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=./test/setup/count-reporter.ts --test-reporter-destination="$to" \
    "$@"
}

# Tests that wait for a real kubelet, a real network or a real browser share two cores with each other. What fails in
# one or two files is tried once more, alone: a fault stays a fault, a wait that was too short for a busy machine is
# told by name at the end, to be mended. Unit tests wait for nothing and get no second try.
run_tier() {
  echo "== $1 tier"
  # Cluster tests mostly wait; the others use what cores there are.
  case $1 in
    unit) parallel=$(nproc) ;;
    data) parallel=$(nproc) ;;
    cluster) parallel=${CDI_CLUSTER_PARALLEL:-4} ;;
  esac
  # shellcheck disable=SC2046
  run_files "$1" "$parallel" $(files_of "$1") && return
  again=$(sed 1d "$counts/$1")
  [ "$1" != unit ] && [ -n "$again" ] && [ "$(echo "$again" | wc -l)" -le 2 ] || return 1
  printf '== %s tier, once more: %s\n' "$1" "$(echo "$again" | tr '\n' ' ')"
  # shellcheck disable=SC2086
  run_files "$1.again" 1 $again || return 1
  echo "$again" >> "$counts/flaky"
}

# With KUBECONFIG the tests run against that cluster, and `up` and `down` leave it as it is.
prepare_cluster() {
  node test/cluster/main.ts up && node test/cluster/install-cdi.ts
}

failed=0
for tier in $tiers; do
  if [ "$tier" = unit ]; then npm run -s check || failed=1; fi
  # Compiled before the tests start, not inside of the first ones that need it.
  case $tier in
    data | cluster)
      node test/fixtures/go-programs.ts toxiproxy versitygw fake-gcs-server || { failed=1; continue; }
      ;;
  esac
  case $tier in
    data) node test/cluster/main.ts build kubernetes || { failed=1; continue; } ;;
    cluster)
      # Without it its tests are left out, and say so.
      node test/fixtures/go-programs.ts virtctl || true
      prepare_cluster || { failed=1; continue; }
      ;;
  esac
  run_tier "$tier" || failed=1
  if [ "$tier" = cluster ] && [ "${CI:-}" = true ]; then
    node test/cluster/main.ts down || failed=1
    if [ -z "${KUBECONFIG:-}" ]; then node test/cluster/main.ts leftovers || failed=1; fi
  fi
done
awk -v broken="$failed" '
  FNR > 1 { next }
  FILENAME ~ /\.again$/ { passed += failedOnce - $2; failed -= failedOnce - $2; next }
  { passed += $1; failed += $2; skipped += $3; failedOnce = $2 }
  END { if (broken && !failed) failed = 1; printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }' \
  $(ls "$counts"/unit "$counts"/data "$counts"/data.again "$counts"/cluster "$counts"/cluster.again 2>/dev/null)
if [ -e "$counts/flaky" ]; then
  echo "passed at the second try only, which wants mending: $(tr '\n' ' ' < "$counts/flaky")"
fi
exit "$failed"
