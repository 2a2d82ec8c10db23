# syntax=docker/dockerfile:1
# The image: the binary on the few files that glibc needs, as an unprivileged user.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg ALLUVIA_COMMIT=$(git rev-parse --short=12 HEAD) -t alluvia .
#
# docs/operating/releases.md has the command that pushes it, with layers under zstd.

# The binary, stripped, with the licences of what it is made of. Cargo's downloads and objects are kept between builds.
FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils g++ make perl python3 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG TARGETARCH=amd64
ARG ALLUVIA_COMMIT=
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target,id=alluvia-target-$TARGETARCH \
    CARGO_TARGET_DIR=/target cargo build --locked --profile dist --bin alluvia \
    && packaging/dist --binary /target/dist/alluvia --into /dist \
    && mkdir /out && tar -xzf /dist/alluvia-*.tar.gz -C /out --strip-components=1

# A root file system of four packages: the C library, libgcc, certificates, time zones.
FROM debian:bookworm-slim AS rootfs
COPY packaging/rootfs /usr/local/bin/rootfs
RUN apt-get update && rootfs /rootfs && rm -rf /var/lib/apt/lists/*

FROM scratch
LABEL org.opencontainers.image.title="Alluvia" \
      org.opencontainers.image.description="Kafka and Azure Event Hubs to Delta Lake, exactly once" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=rootfs /rootfs /
COPY --from=build /out/LICENSE /out/THIRD-PARTY.txt /usr/share/doc/alluvia/
COPY --from=build /out/alluvia /usr/local/bin/alluvia
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
WORKDIR /data
EXPOSE 9464
ENTRYPOINT ["/usr/local/bin/alluvia"]
CMD ["--help"]
