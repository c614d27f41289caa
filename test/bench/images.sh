#!/bin/bash
# The disk that all benchmarks move: 4 GiB with a real Debian root file system (about 440 MiB of data), in every wrapping
# that the table has. Built once, kept in the cache by the hash of this script. Prints the directory.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cdi
out=$cache/bench-images-$(sha256sum "$0" | cut -c1-16)
say() { echo "bench images: $*" >&2; }
if [ -f "$out/complete" ]; then echo "$out"; exit 0; fi
rm -rf "$out" "$out.new"; mkdir -p "$out.new"; cd "$out.new"

# The OCI layout container-FILE: one gzip layer with disk/FILE, as people make container disks.
container_image() {
  local container
  container=$(with_store from --signature-policy policy.json scratch)
  with_store copy --quiet --chown 107:107 "$container" "$1" /disk/ >&2
  with_store commit --quiet --rm --disable-compression=false --signature-policy policy.json "$container" "oci:container-$1" >&2
}
with_store() { BUILDAH_ISOLATION=chroot nice buildah --root "$PWD/store" --runroot "$PWD/run" --storage-driver vfs "$@"; }

sources=/etc/apt/sources.list
[ -f /etc/apt/sources.list.d/debian.sources ] && sources=/etc/apt/sources.list.d/debian.sources
say "a Debian root file system"
nice mmdebstrap --quiet --variant=minbase --include=linux-image-cloud-amd64,systemd,python3,perl,git,vim-tiny \
  bookworm root.tar "$sources" >&2
mkdir root && tar -xpf root.tar -C root --exclude='./dev/*' && rm root.tar
say "the raw disk"
truncate -s 4G disk.raw
mkfs.ext4 -q -F -d root disk.raw
rm -rf root
say "gz, zst, xz (blocks of 24 MiB)"
nice gzip -6 -k disk.raw
nice zstd -q -T0 -k disk.raw
nice xz -6 -T0 --block-size=24MiB -k disk.raw
say "qcow2, vmdk, vhdx"
nice qemu-img convert -f raw -O qcow2 -c disk.raw zlib.qcow2
nice qemu-img convert -f raw -O qcow2 disk.raw plain.qcow2
nice qemu-img convert -f raw -O vmdk -o subformat=streamOptimized disk.raw stream.vmdk
nice qemu-img convert -f raw -O vhdx disk.raw disk.vhdx
nice gzip -6 -k plain.qcow2
nice xz -6 -T0 --block-size=24MiB -k plain.qcow2
say "container images with the raw disk and with the qcow2"
echo '{"default":[{"type":"insecureAcceptAnything"}]}' > policy.json
container_image disk.raw
container_image plain.qcow2
rm -rf store run policy.json
sha256sum disk.raw | cut -d' ' -f1 > disk.sha256
touch complete
cd ..; mv "$out.new" "$out"
say "done: $(du -sh "$out" | cut -f1)"
echo "$out"
