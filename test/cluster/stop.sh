#!/bin/sh
# `npm stop`: takes the embedded cluster of this checkout away; caches and logs stay.
set -eu
cd "$(dirname "$0")/../.."
if [ ! -x node_modules/.bin/node ]; then echo 'nothing was ever started here' >&2; exit 0; fi
PATH=$PWD/node_modules/.bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH
exec node test/cluster/main.ts down
