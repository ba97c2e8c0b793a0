#!/usr/bin/env bash
# Prints the path of a Chromium-like browser for the browser tests; fails where there is none.
set -euo pipefail
if [ -n "${CHROMIUM:-}" ]; then
  echo "$CHROMIUM"
  exit
fi
for name in chromium chromium-browser google-chrome-stable google-chrome; do
  if command -v "$name"; then
    exit
  fi
done
exit 1
