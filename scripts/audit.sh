#!/usr/bin/env bash
# Checks licences, advisories and who names which library. Needs the internet.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo deny --version >/dev/null 2>&1; then
  echo "Installing cargo-deny; this takes some minutes"
  cargo install --locked cargo-deny
fi
cargo deny --locked check
cd frontend
npm audit --omit=dev --audit-level=high
