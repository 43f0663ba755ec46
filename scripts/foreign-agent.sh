#!/bin/sh
# Builds the guest's agent for aarch64 and prints where it is, for tests that run
# it under qemu-user. Needs x86_64 Debian. What is built is kept outside the
# checkout.
set -eu
cd "$(dirname "$0")/.."
. scripts/foreign.sh

TARGET=aarch64-unknown-linux-gnu

sh scripts/setup.sh qemu-user >&2
foreign_rust $TARGET
export CARGO_TARGET_DIR="$FOREIGN_CACHE/agent" CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
echo "agent: $TARGET" >&2
# shellcheck disable=SC2086 # nothing or one word
RUSTFLAGS="-C target-feature=+crt-static" "$CARGO" build --locked --quiet --target $TARGET $BUILD_STD \
    --no-default-features --bin nsvm-agent
echo "$CARGO_TARGET_DIR/$TARGET/debug/nsvm-agent"
