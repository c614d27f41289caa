#!/bin/sh
# `npm start [-- --context NAME]`: a cluster, the service in it, and a real disk imported, whatever of that is missing.
set -eu
cd "$(dirname "$0")/../.."
# A context without KUBECONFIG means the user's own file.
case " $* " in *' --context'*) KUBECONFIG=${KUBECONFIG:-$HOME/.kube/config}; export KUBECONFIG ;; esac
sh test/setup/install.sh start
PATH=$PWD/node_modules/.bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH
exec node test/cluster/start.ts "$@"
