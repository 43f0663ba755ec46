#!/bin/sh
# All tests: formatting and lints (where those tools are), types on the other
# systems, units, then those that boot VMs.
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
"$CARGO" test --locked
