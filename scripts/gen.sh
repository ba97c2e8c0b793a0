#!/usr/bin/env bash
# Writes the files that come from code. A test fails where one of them is out of date.
set -euo pipefail
cd "$(dirname "$0")/.."
ENSEMBLE_BLESS=1 cargo test --locked --quiet -p ensemble-protocol --lib typescript >/dev/null
echo "wrote frontend/src/core/protocol.gen.ts"
example=$(mktemp)
trap 'rm -f "$example"' EXIT
cargo run --locked --quiet -p ensemble-server -- doctor --env-example >"$example"
cp "$example" .env.example
echo "wrote .env.example"
