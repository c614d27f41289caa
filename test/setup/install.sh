#!/bin/sh
# Makes this machine ready: install.sh [unit|data|cluster|bench|start …]. Installs what is missing and nothing else; a
# second run is a few look-ups. Debian packages need Debian and root; where every program is there already, neither.
set -eu
cd "$(dirname "$0")/../.."
wants=${*:-unit data cluster}
say() { echo "install: $*" >&2; }
fail() {
  say "$1"
  shift
  for line; do echo "         $line" >&2; done
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# Programs in sbin are not on every user's path.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH

elsewhere() {
  set -- 'without it:' \
    '  npm test -- unit                                  needs Node only' \
    '  KUBECONFIG=… CDI_IMAGE=… npm test -- cluster      uses your cluster and the image that you built and pushed' \
    '  KUBECONFIG=… CDI_IMAGE=… npm start                installs into your cluster'
  for line; do echo "         $line" >&2; done
}

# --- Node, for npm; the programs run under the Node of node_modules
has node || fail 'Node.js 20 or newer is needed (apt-get install nodejs npm)'
major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge 20 ] || fail "Node.js 20 or newer is needed, this is $(node --version)"
has npm || fail 'npm is needed (apt-get install npm)'

lock=$(sha256sum package-lock.json | cut -d' ' -f1)
stamp=node_modules/.installed-for
if [ ! -x node_modules/.bin/node ] || [ "$(cat $stamp 2>/dev/null)" != "$lock" ]; then
  say 'npm packages'
  # Not `npm ci`: that refuses a lock file which lacks packages for platforms that a registry does not carry.
  npm install --no-save --loglevel=error >&2
  echo "$lock" > $stamp
fi

# --- Debian packages, as lines of "program package"; a library or plug-in is named by its file
packages_of() {
  case $1 in
    unit) ;;
    data) cat <<'LIST'
qemu-img qemu-utils
nginx nginx-light
tinyproxy tinyproxy
xz xz-utils
zstd zstd
bzip2 bzip2
openssl openssl
curl curl
nbdinfo libnbd-bin
losetup mount
mkfs.ext4 e2fsprogs
mkfs.xfs xfsprogs
setpriv util-linux
/bin/busybox busybox-static
docker-registry docker-registry
skopeo skopeo
chromium chromium
LIST
      ;;
    bench) packages_of data; cat <<'LIST'
nbdkit nbdkit
mmdebstrap mmdebstrap
buildah buildah
LIST
      ;;
    cluster | start) packages_of data; cat <<'LIST'
ip iproute2
nft nftables
iptables iptables
conntrack conntrack
sysctl procps
containerd containerd
runc runc
/usr/lib/cni/bridge containernetworking-plugins
buildah buildah
mmdebstrap mmdebstrap
qemu-system-x86_64 qemu-system-x86
LIST
      ;;
    *) fail "no such part: $1" ;;
  esac
}

external=${KUBECONFIG:+yes}
[ "${KUBECONFIG:-}" != "${CDI_STATE:-$PWD/.state}/kubeconfig" ] || external=
missing=
needs_go=
for part in $wants; do
  # With another cluster the node's programs are not needed.
  case $part in cluster | start) [ -z "$external" ] || part=data ;; esac
  case $part in data | cluster | start | bench) needs_go=yes ;; esac
  missing="$missing $(packages_of "$part" | while read -r program package; do
    case $program in
      /*) [ -e "$program" ] || echo "$package" ;;
      *) has "$program" || echo "$package" ;;
    esac
  done)"
done
missing=$(echo "$missing" | tr ' ' '\n' | sort -u | sed '/^$/d' | tr '\n' ' ')

if [ -n "$missing" ]; then
  if ! { [ -f /etc/debian_version ] && has apt-get; }; then
    say "this is not Debian; install what belongs to these packages by hand: $missing"
    elsewhere
    exit 1
  fi
  if [ "$(id -u)" != 0 ]; then
    say "not root; ask an administrator to run: apt-get install $missing"
    elsewhere
    exit 1
  fi
  say "Debian packages: $missing"
  # Packages must not start services of their own: the tests start what they need, on ports of their choice.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' > $policy
    chmod 755 $policy
    trap 'rm -f $policy' EXIT
  fi
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  # shellcheck disable=SC2086
  if ! { apt-get update -q && apt-get install -y -q --no-install-recommends $missing; } > "$log" 2>&1; then
    tail -n 20 "$log" >&2
    fail "apt-get failed; its whole output is in $log"
  fi
  rm -f "$log"
fi

if [ -n "$needs_go" ]; then
  has go || fail 'Go is needed, to build test servers and the node of the embedded cluster'
fi

# --- the embedded cluster needs a kernel that lets root make namespaces, loop devices and mounts
case " $wants " in
  *' cluster '* | *' start '*)
    if [ -z "$external" ]; then
      if [ "$(id -u)" != 0 ]; then
        say 'the embedded cluster needs root'
        elsewhere
        exit 1
      fi
      [ -e /dev/loop-control ] || modprobe loop 2>/dev/null || fail 'the kernel has no loop devices'
      has git || fail 'git is needed'
    fi
    ;;
esac
