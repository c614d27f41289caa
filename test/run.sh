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

run_tier() {
  echo "== $1 tier"
  # Cluster tests mostly wait; the others use what cores there are.
  case $1 in
    unit) parallel=$(nproc) ;;
    data) parallel=$(nproc) ;;
    cluster) parallel=${CDI_CLUSTER_PARALLEL:-4} ;;
  esac
  # shellcheck disable=SC2046
  node --test --test-concurrency="$parallel" --test-timeout=900000 \
    --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=./test/setup/count-reporter.ts --test-reporter-destination="$counts/$1" \
    $(files_of "$1")
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
cat "$counts"/* 2>/dev/null | awk -v broken="$failed" '
  { passed += $1; failed += $2; skipped += $3 }
  END { if (broken && !failed) failed = 1; printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }'
exit "$failed"
