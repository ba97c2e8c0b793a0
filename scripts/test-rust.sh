#!/usr/bin/env bash
# Runs Rust tests: all of them, or those of one crate.
#   scripts/test-rust.sh [CRATE]
# With cargo-nextest where it is there, with cargo test where it is not.
set -euo pipefail
cd "$(dirname "$0")/.."
crate=${1:-}
what=(--workspace)
if [ -n "$crate" ]; then
  [ -d "backend/$crate" ] || { echo "there is no crate \`$crate\`; there are: $(ls backend | xargs)" >&2; exit 1; }
  what=(-p "ensemble-$crate")
fi
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --locked --no-fail-fast --no-tests=pass "${what[@]}"
  # nextest leaves out the examples in the documentation.
  if [ -z "$crate" ] || [ -f "backend/$crate/src/lib.rs" ]; then
    cargo test --locked --doc "${what[@]}"
  fi
else
  cargo test --locked --no-fail-fast "${what[@]}"
fi
