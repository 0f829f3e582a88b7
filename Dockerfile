# The operator's image, for amd64 and arm64:
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg LOCKSTEP_COMMIT=$(git rev-parse --short HEAD) .
# The compiler runs on the builder's own processor and compiles for the other one, which emulation would do ten times slower.

ARG RUST_VERSION=1.95
FROM --platform=$BUILDPLATFORM rust:${RUST_VERSION}-bookworm AS build
ARG TARGETARCH
WORKDIR /source

# Linker and C library of the target, where it is not the builder's own; ring has parts in C and assembler.
RUN set -eu; \
    case "$TARGETARCH" in \
      amd64) triple=x86_64-unknown-linux-gnu; gcc=gcc-x86-64-linux-gnu ;; \
      arm64) triple=aarch64-unknown-linux-gnu; gcc=gcc-aarch64-linux-gnu ;; \
      *) echo "images are for amd64 and arm64, not for $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    if [ "$(dpkg --print-architecture)" != "$TARGETARCH" ]; then \
      apt-get update; \
      apt-get install --yes --no-install-recommends "$gcc" "libc6-dev-$TARGETARCH-cross"; \
      rm -rf /var/lib/apt/lists/*; \
    fi; \
    rustup target add "$triple"; \
    echo "$triple" > /triple

COPY . .
ARG LOCKSTEP_COMMIT=
ENV CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CC_x86_64_unknown_linux_gnu=x86_64-linux-gnu-gcc \
    CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target,id=target-$TARGETARCH \
    LOCKSTEP_COMMIT="$LOCKSTEP_COMMIT" \
    cargo build --locked --release --package lockstep --bin lockstep --target "$(cat /triple)" && \
    cp "target/$(cat /triple)/release/lockstep" /lockstep

# The C library and the authorities that sign certificates; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title=lockstep \
      org.opencontainers.image.description="A Kubernetes operator for workloads whose replicas coordinate through locks in Redis" \
      org.opencontainers.image.licenses=Apache-2.0
COPY --from=build /lockstep /lockstep
USER 65532:65532
ENTRYPOINT ["/lockstep"]
CMD ["run"]
