# syntax=docker/dockerfile:1
# The image: the binary on the few files that glibc needs, as an unprivileged user.
#
#   docker buildx build --platform linux/amd64,linux/arm64 -t alluvia .

# The binary. Cargo's downloads and objects are kept between builds.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make perl && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG TARGETARCH=amd64
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target,id=alluvia-target-$TARGETARCH \
    CARGO_TARGET_DIR=/target cargo build --locked --profile dist --bin alluvia \
    && mkdir -p /out && cp /target/dist/alluvia /out/alluvia

# A root file system of four packages: the C library, libgcc, certificates, time zones.
FROM debian:bookworm-slim AS rootfs
WORKDIR /packages
RUN apt-get update \
    && apt-get download libc6 libgcc-s1 ca-certificates tzdata \
    && mkdir /rootfs \
    && for package in *.deb; do dpkg-deb -x "$package" /rootfs; done \
    && find /rootfs/usr/share/ca-certificates/mozilla -name '*.crt' | sort | xargs cat > /packages/bundle.crt \
    && mkdir -p /rootfs/etc/ssl/certs && mv /packages/bundle.crt /rootfs/etc/ssl/certs/ca-certificates.crt \
    && rm -rf /rootfs/usr/share/doc /rootfs/usr/share/man /rootfs/usr/share/locale /rootfs/usr/share/lintian \
              /rootfs/usr/share/gcc /rootfs/usr/share/ca-certificates /rootfs/usr/sbin /rootfs/usr/bin /rootfs/sbin \
    && mkdir -p /rootfs/tmp /rootfs/data && chmod 1777 /rootfs/tmp && chown 65532:65532 /rootfs/data \
    && printf 'root:x:0:0::/:/nologin\nnonroot:x:65532:65532::/data:/nologin\n' > /rootfs/etc/passwd \
    && printf 'root:x:0:\nnonroot:x:65532:\n' > /rootfs/etc/group

FROM scratch
COPY --from=rootfs /rootfs /
COPY --from=build /out/alluvia /usr/local/bin/alluvia
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
WORKDIR /data
EXPOSE 9464
ENTRYPOINT ["/usr/local/bin/alluvia"]
CMD ["--help"]
