#!/usr/bin/env bash
# Builds the server with a profile that is quick to build and quick to use, and starts it.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -f .env ]; then
  set -a
  # shellcheck disable=SC1091
  source .env
  set +a
fi
cargo build --locked --profile quick -p ensemble-server
# `cargo run` becomes the server, so signals reach it.
exec cargo run --locked --quiet --profile quick -p ensemble-server -- serve "$@"
