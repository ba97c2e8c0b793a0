#!/usr/bin/env bash
# Starts the server and, in front of it, the page with reload. Ctrl-C stops both.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -f .env ]; then
  set -a
  # shellcheck disable=SC1091
  source .env
  set +a
fi
# The page comes from Vite's address here, which the server would otherwise call foreign.
export ENSEMBLE_ALLOWED_ORIGINS=${ENSEMBLE_ALLOWED_ORIGINS:-http://localhost:5173}
cargo build --locked -p ensemble-server
cargo run --locked --quiet -p ensemble-server -- serve "$@" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
cd frontend
npm run dev
