#!/usr/bin/env bash
# Runs Rust tests of the packages named: with cargo-nextest where it is there, with cargo test where it is not.
set -euo pipefail
cd "$(dirname "$0")/.."
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --locked --no-fail-fast --no-tests=pass "$@"
  # nextest leaves out the examples in the documentation.
  cargo test --locked --doc "$@"
else
  cargo test --locked --no-fail-fast "$@"
fi
