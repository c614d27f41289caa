#!/bin/sh
# Runs while the image is built: loads every role once, so that the compile cache in the image holds its code.
set -eu
export NODE_COMPILE_CACHE=/usr/lib/cdi/.compile-cache
cd /usr/lib/cdi
for role in src/bin/controller.js src/bin/apiserver.js uploadproxy/main.js importer/upload/main.js importer/main.js importer/cli/import.js importer/cli/inspect.js src/cli/upload.js; do
  # Loading starts nothing: each exports `main`. A role that is not in this version yet is passed over.
  # Code is kept for one heap size only: that of the proxy is set by the script `cdi`.
  case $role in
    uploadproxy/*) heap=--initial-old-space-size=128 ;;
    *) heap= ;;
  esac
  # shellcheck disable=SC2086
  if [ -f "$role" ]; then node $heap -e "import('/usr/lib/cdi/$role').then(() => require('node:module').flushCompileCache())"; fi
done
chmod -R a+rX .compile-cache
