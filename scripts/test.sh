#!/bin/sh
# All tests: formatting and lints (where those tools are), types on the other
# systems, nsvm.exe under Wine, units, the aarch64 agent under qemu-user, then
# those that boot VMs.
# NSVM_AGENT names the static agent that guests get.
set -eu
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

# Debian's toolchain has neither of the two.
if "$CARGO" fmt --version >/dev/null 2>&1; then
    "$CARGO" fmt --check
fi
if "$CARGO" clippy --version >/dev/null 2>&1; then
    "$CARGO" clippy --all-targets --locked -- -D warnings
fi
sh scripts/cross.sh
# What it prints is how tests/wine finds what it has built.
if grep -qs "^ID=debian$" /etc/os-release && [ "$(uname -m)" = x86_64 ]; then
    windows=$(sh scripts/windows.sh)
    eval "$windows"
    NSVM_FOREIGN_AGENT=$(sh scripts/foreign-agent.sh)
    export NSVM_FOREIGN_AGENT
else
    echo "Wine, MinGW and qemu-user are known on x86_64 Debian alone: skipped what needs them" >&2
fi
"$CARGO" test --locked
