#!/usr/bin/env bash
# Looks for what `make demo` and `make test` can't install themselves, and says how to get it. The rest (Debian packages,
# the Kubernetes binaries) is installed where it is needed, by tests/cluster.
set -euo pipefail

missing=0
need() { # COMMAND, what for, how to get it
  command -v "$1" >/dev/null && return
  printf 'missing: %s (%s)\n  %s\n' "$1" "$2" "$3" >&2
  missing=1
}

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  absent=()
  command -v cc >/dev/null || absent+=(gcc libc6-dev)
  command -v git >/dev/null || absent+=(git)
  if [ ${#absent[@]} -gt 0 ]; then
    echo "installing ${absent[*]} (Debian packages)" >&2
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${absent[@]}" >&2
  fi
fi
need cc 'links Rust programs' 'Debian: apt-get install gcc libc6-dev'
need cargo 'builds Lockstep; see rust-version in Cargo.toml' 'install Rust with rustup, or your distribution'
need go 'builds Kubernetes for the local cluster; 1.26 or later' 'install the Go toolchain of your distribution'
exit "$missing"
