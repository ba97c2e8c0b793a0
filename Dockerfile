# syntax=docker/dockerfile:1
# The whole product in one image: `docker build -t ensemble .`, then `docker compose up`.

FROM node:22-bookworm-slim AS page
WORKDIR /src/frontend
COPY frontend/package.json frontend/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY frontend ./
RUN npm run build

FROM rust:1-bookworm AS server
WORKDIR /src
# Without rust-toolchain.toml, the image's own Rust is used instead of fetching another.
COPY Cargo.toml Cargo.lock ./
COPY backend backend
COPY migrations migrations
COPY --from=page /src/frontend/dist frontend/dist
# The build folder is a cache that does not outlive the step, so the program is moved out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist -p ensemble-server && cp target/dist/ensemble /ensemble

FROM debian:bookworm-slim
# Certificates: models are reached over TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin ensemble \
    && install -d -o ensemble -g ensemble -m 0700 /data
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/ensemble/
COPY --from=server /ensemble /usr/local/bin/ensemble
USER ensemble
WORKDIR /data
ENV ENSEMBLE_DATA=/data ENSEMBLE_LISTEN=0.0.0.0:8080
VOLUME /data
EXPOSE 8080
# The image has no curl; bash can ask.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /health/ready HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["ensemble"]
CMD ["serve"]
