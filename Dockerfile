# One image for all roles: `cdi controller`, `cdi importer`, …
#
#   docker build -t cdi .
#
# test/cluster/app-image.ts builds the same file without Docker Hub: the bases are then a Debian root file system made
# by mmdebstrap with $PACKAGES in it, and `build` and `modules` are directories on the machine (--build-context).
ARG BASE=debian:trixie-slim
ARG BUILD_BASE=node:24-trixie-slim

FROM ${BUILD_BASE} AS build
WORKDIR /src
COPY . .
# .dockerignore keeps dist and node_modules out of an ordinary context. `npm install` and not `npm ci`: the lock file
# lacks packages for platforms that the registry it was made with does not carry.
RUN if [ ! -d dist ]; then npm install --no-save && npm run -s build && npm prune --omit=dev; fi

FROM build AS modules
RUN sh test/cluster/image/prune.sh /src

FROM ${BASE}
# busybox-static waits in the container of a disk image that the kubelet pulls (src/controllers/import/pull-node.ts).
ARG PACKAGES="qemu-utils xz-utils zstd ca-certificates busybox-static"
# Scripts run in the container use bash arrays through /bin/sh, so that is bash.
RUN if ! command -v qemu-img >/dev/null; then \
      apt-get update && apt-get install -y --no-install-recommends $PACKAGES && rm -rf /var/lib/apt/lists/*; \
    fi; ln -sf bash /usr/bin/sh
COPY --from=modules /src/node /usr/bin/node
COPY --from=modules /src/node_modules /usr/lib/cdi/node_modules
COPY --from=build /src/test/cluster/image/cdi /usr/bin/cdi
RUN ln -s cdi /usr/bin/kubectl-cdi
COPY --from=build /src/package.json /usr/lib/cdi/package.json
COPY --from=build /src/crds /usr/lib/cdi/crds
COPY --from=build /src/dist /usr/lib/cdi
COPY --from=build /src/uploadproxy/page /usr/lib/cdi/uploadproxy/page
# Compiled code is kept beside the program, so that a worker starts as quickly the first time as the hundredth.
RUN --mount=type=bind,from=build,source=/src/test/cluster/image,target=/mnt sh /mnt/warm.sh
USER 1001
ENTRYPOINT ["/usr/bin/cdi"]
