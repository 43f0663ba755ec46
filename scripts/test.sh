#!/bin/sh
# All tests: formatting and lints, units, then those that boot VMs.
# NSVM_AGENT names the static agent that guests get.
set -eu
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

"$CARGO" fmt --check
"$CARGO" clippy --all-targets --locked -- -D warnings
"$CARGO" test --locked
