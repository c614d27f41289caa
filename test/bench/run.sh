#!/bin/sh
# `npm run bench`: builds what a pod runs, makes the images once, measures. Arguments go to test/bench/main.ts.
set -eu
cd "$(dirname "$0")/../.."
sh test/setup/install.sh bench
PATH=$PWD/node_modules/.bin:$PATH
npm run -s build
node test/fixtures/go-programs.ts toxiproxy versitygw s5cmd
images=$(bash test/bench/images.sh)
export NODE_COMPILE_CACHE="$PWD/dist/.compile-cache"
exec node test/bench/main.ts --images "$images" --cdi "$PWD/node_modules/.bin/node $PWD/dist/src/bin/cdi.js" --dist "$PWD/dist" "$@"
