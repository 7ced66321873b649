# The images of the coordinator and of the storage node: two targets, compiled once.
#
# The classic builder takes this file as well as BuildKit: no cache mounts, no syntax line. The
# dependencies have a layer of their own, which depends on manifests and lock file only.

FROM rust:1.95.0-slim-trixie AS rust
WORKDIR /build
ENV SQLX_OFFLINE=true CARGO_PROFILE_RELEASE_STRIP=symbols

FROM debian:trixie-slim AS runtime
# For coordinators behind TLS: the roots that the compiler's image trusts.
COPY --from=rust /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
RUN groupadd --gid 10001 fsn \
    && useradd --uid 10001 --gid fsn --home-dir /data --no-create-home --shell /usr/sbin/nologin fsn \
    && install --directory --owner fsn --group fsn --mode 0700 /data
USER 10001:10001
WORKDIR /data
# Everything that has to last; the rest of the file system may be read-only.
VOLUME /data
ARG REVISION=unknown
LABEL org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.revision="$REVISION" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0" \
    org.opencontainers.image.base.name="docker.io/library/debian:trixie-slim"

# The workspace with every target emptied. Made by a stage, so that no list of crates has to be kept.
FROM rust AS skeleton
COPY . .
RUN mkdir /skeleton \
    && cp --parents Cargo.toml Cargo.lock */Cargo.toml /skeleton \
    && for file in */build.rs */src/lib.rs */src/main.rs */src/bin/*.rs */src/bin/*/main.rs; do \
        if [ -e "$file" ]; then \
            mkdir -p "/skeleton/${file%/*}" && echo 'fn main() {}' >"/skeleton/$file" || exit 1; \
        fi; \
    done \
    # What libp2p is compiled against is no skeleton.
    && cp -r futures-timer /skeleton

FROM rust AS dependencies
COPY --from=skeleton /skeleton ./
RUN cargo build --release --locked -p coordinator -p storage-node

FROM dependencies AS build
COPY . .
# Cargo goes by times, and the sources may be older than what the skeleton was compiled to.
RUN find . -name '*.rs' -not -path './target/*' -exec touch {} + \
    && cargo build --release --locked -p coordinator -p storage-node \
    && mkdir /programs \
    && cp target/release/coordinator target/release/storage-node /programs

FROM runtime AS coordinator
LABEL org.opencontainers.image.title="Federated storage coordinator" \
    org.opencontainers.image.description="HTTP API, placement, sealing and ledger of a federated storage network"
COPY --from=build /programs/coordinator /usr/local/bin/
ENV FSN_HTTP_LISTEN=0.0.0.0:8080 FSN_S3_LISTEN=0.0.0.0:9000 FSN_KEYS_DIR=/data/keys
EXPOSE 8080 9000 4001/tcp 4001/udp
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["coordinator", "health"]
ENTRYPOINT ["coordinator"]
CMD ["serve"]

FROM runtime AS storage-node
LABEL org.opencontainers.image.title="Federated storage node" \
    org.opencontainers.image.description="Keeps sealed blobs for a federated storage network, and proves it"
COPY --from=build /programs/storage-node /usr/local/bin/
ENV FSN_NODE_DATA_DIR=/data
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s --retries=3 CMD ["storage-node", "status", "--check", "--no-count"]
ENTRYPOINT ["storage-node"]
# The first start with an empty volume registers the node; later ones only start it.
CMD ["start", "--init"]
