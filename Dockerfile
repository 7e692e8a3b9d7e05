# syntax=docker/dockerfile:1
#
# Two images of mcp-mux:
#
#   docker build --target mcp-mux -t mcp-mux .            the program alone, to put a server of one's own beside
#   docker build --target servers -t mcp-mux:servers .    with Node.js (npx), Python and uv (uvx), for the usual servers
#
#   docker run --rm -p 127.0.0.1:8000:8000 mcp-mux:servers --insecure-no-auth -- uvx mcp-server-time
#
# mcp-mux listens on all of the container's addresses, so it wants clients to authenticate (MCP_MUX_AUTH_TOKENS, or
# --auth-token-file with a file that is mounted), unless --insecure-no-auth says that everybody who reaches the port may enter, as
# above, where it is published on loopback alone. The addresses and loopback names may be used as the Host; others are to be
# given with --allow-host.
#
# As process 1 mcp-mux reaps what loses its parent in the container: no --init and no tini are needed. docker stop sends SIGTERM and
# kills after 10 s: with --drain-timeout (10 s) and --stop-timeout (5 s) as they are, say `docker stop --time 30`.

FROM rust:1.89-slim-bookworm AS build
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY benches ./benches
COPY src ./src
# What was downloaded and built stays in the builder's cache, and not in a layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --locked --release --features otel --bin mcp-mux \
    && cp target/release/mcp-mux /usr/local/bin/mcp-mux

# Has the C library and the authorities' certificates, and no shell. Not linked statically: musl's allocator is slow where many
# threads use it. COPY --from of another stage brings a server; so does a folder that is mounted.
FROM gcr.io/distroless/cc-debian12:nonroot AS mcp-mux
COPY --from=build /usr/local/bin/mcp-mux /usr/local/bin/mcp-mux
COPY LICENSE /usr/share/doc/mcp-mux/LICENSE
ENV MCP_MUX_HOST=0.0.0.0
EXPOSE 8000
# By number: so Kubernetes can see that it is not root (runAsNonRoot).
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/mcp-mux"]

FROM ghcr.io/astral-sh/uv:0.13.8 AS uv

FROM node:24-bookworm-slim AS servers
# git: for servers that are named by a repository.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=uv /uv /uvx /usr/local/bin/
COPY --from=build /usr/local/bin/mcp-mux /usr/local/bin/mcp-mux
COPY LICENSE /usr/share/doc/mcp-mux/LICENSE
ENV MCP_MUX_HOST=0.0.0.0
EXPOSE 8000
# The user `node` of that image, whose home takes what npx and uvx download. By number, as above.
USER 1000:1000
ENV HOME=/home/node
WORKDIR /home/node
ENTRYPOINT ["/usr/local/bin/mcp-mux"]
