# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The build context contains no repository; pass the commit that /healthz reports
ARG COMMIT=unknown
ENV IVS_PLAYBACK_AUTH_COMMIT=$COMMIT
RUN cargo build --locked --profile dist --bin ivs-playback-auth
# Folders for keys, clients and denied viewers, owned by the non-root user
RUN install -d -m 0700 /out/var/lib/ivs-playback-auth/keys /out/var/lib/ivs-playback-auth/config \
    /out/var/lib/ivs-playback-auth/data

# distroless: root certificates and glibc, but no shell and no package manager
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/dist/ivs-playback-auth /usr/local/bin/ivs-playback-auth
COPY --from=build --chown=nonroot:nonroot /out/var/lib/ivs-playback-auth /var/lib/ivs-playback-auth
WORKDIR /var/lib/ivs-playback-auth
ENV IVS_PLAYBACK_AUTH__SERVER__LISTEN=0.0.0.0:8080 \
    IVS_PLAYBACK_AUTH__SERVER__DRAIN_DELAY=10s
USER nonroot
EXPOSE 8080
VOLUME ["/var/lib/ivs-playback-auth/keys", "/var/lib/ivs-playback-auth/data"]
HEALTHCHECK --interval=10s --timeout=3s CMD ["/usr/local/bin/ivs-playback-auth", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/ivs-playback-auth"]
CMD ["serve"]
