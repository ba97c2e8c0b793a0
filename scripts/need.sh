#!/usr/bin/env bash
# Checks that what is needed is there, installs what it may, and says plainly what is missing otherwise.
#   scripts/need.sh build    to build and run: Rust, a C compiler, Node with npm
#   scripts/need.sh test     to test as well: clippy, rustfmt, a browser
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:-build}
rust_needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
node_needed=20.19.0
missing=0

say_missing() {
  printf 'Missing: %s\n  %s\n' "$1" "$2" >&2
  missing=1
}

# Whether version $1 is at least version $2.
at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# Installs a Debian package where that needs no password; otherwise says how.
from_debian() {
  local what=$1 package=$2
  if ! command -v apt-get >/dev/null; then
    say_missing "$what" "install it with your system's package manager, then try again"
    return
  fi
  local as=()
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      as=(sudo -n)
    else
      say_missing "$what" "run: sudo apt-get update && sudo apt-get install -y $package"
      return
    fi
  fi
  echo "Installing $what (apt-get install $package)"
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null || true
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" \
    </dev/null >/dev/null || say_missing "$what" "apt-get install -y $package failed; its message is above"
}

if ! command -v cc >/dev/null; then
  from_debian "a C compiler" build-essential
fi

if ! command -v cargo >/dev/null; then
  say_missing "Rust $rust_needed or newer" \
    "run: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y && source \"\$HOME/.cargo/env\""
else
  # Where rustup manages Rust, asking for the version installs what rust-toolchain.toml names.
  rust_here=$(rustc --version | cut -d' ' -f2)
  if ! at_least "${rust_here%%-*}" "$rust_needed"; then
    say_missing "Rust $rust_needed or newer (this is $rust_here)" "run: rustup update stable"
  fi
fi

node_help="see https://nodejs.org/en/download, or run: curl -fsSL https://deb.nodesource.com/setup_22.x | sudo bash - && sudo apt-get install -y nodejs"
if ! command -v node >/dev/null; then
  say_missing "Node $node_needed or newer" "$node_help"
else
  node_here=$(node -p process.versions.node)
  at_least "$node_here" "$node_needed" || say_missing "Node $node_needed or newer (this is $node_here)" "$node_help"
  command -v npm >/dev/null || from_debian "npm" npm
fi

if [ "$purpose" = test ]; then
  for part in clippy fmt; do
    if command -v cargo >/dev/null && ! cargo "$part" --version >/dev/null 2>&1; then
      component=$part
      [ "$part" = fmt ] && component=rustfmt
      say_missing "cargo $part" "run: rustup component add $component"
    fi
  done
  if ! scripts/chromium.sh >/dev/null; then
    from_debian "Chromium" chromium
  fi
fi

exit "$missing"
