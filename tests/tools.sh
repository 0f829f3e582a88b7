#!/usr/bin/env bash
# Looks for what `make demo` and `make test` can't install themselves, and says how to get it. The rest (Debian packages,
# the Kubernetes binaries) is installed where it is needed, by tests/cluster. With the argument `test`, also for the
# languages of the lock libraries in tests/workers.
set -euo pipefail

libraries=0
[ "${1:-}" = test ] && libraries=1
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
  if [ "$libraries" = 1 ]; then
    command -v node >/dev/null || absent+=(nodejs)
    command -v npm >/dev/null || absent+=(npm)
    python3 -c 'import ensurepip, venv' 2>/dev/null || absent+=(python3-venv)
    command -v javac >/dev/null || absent+=(default-jdk-headless)
    command -v mvn >/dev/null || absent+=(maven)
  fi
  if [ ${#absent[@]} -gt 0 ]; then
    echo "installing ${absent[*]} (Debian packages)" >&2
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${absent[@]}" >&2
  fi
fi
need cc 'links Rust programs' 'Debian: apt-get install gcc libc6-dev'
need cargo 'builds Lockstep; see rust-version in Cargo.toml' 'install Rust with rustup, or your distribution'
need go 'builds Kubernetes for the local cluster; 1.26 or later' 'install the Go toolchain of your distribution'
if [ "$libraries" = 1 ]; then
  need node 'runs the lock libraries of Node; 18 or later' 'Debian: apt-get install nodejs'
  need npm 'installs them' 'Debian: apt-get install npm'
  need python3 'runs the lock libraries of Python' 'Debian: apt-get install python3-venv'
  need javac 'compiles the programs that use the lock libraries of Java; 17 or later' \
    'Debian: apt-get install default-jdk-headless'
  need mvn 'fetches the lock libraries of Java' 'Debian: apt-get install maven'
fi
exit "$missing"
