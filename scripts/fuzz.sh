#!/usr/bin/env bash
# Runs fuzz targets, one after another, each for some seconds: fuzz.sh SECONDS [TARGET...]. Needs the internet once.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
time=$1
shift
if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "Installing nightly Rust"
  rustup toolchain install nightly --profile minimal
fi
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  echo "Installing cargo-fuzz; this takes some minutes"
  cargo install --locked cargo-fuzz
fi
node ../scripts/fuzz-seeds.mjs
if [ $# -eq 0 ]; then
  set -- update client_frame message presence state_vector
fi
for target in "$@"; do
  cargo +nightly fuzz run --fuzz-dir . "$target" -- -max_total_time="$time" -max_len=4096 -rss_limit_mb=1024
done
