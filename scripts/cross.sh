#!/bin/sh
# Type-checks the package and its tests for the other systems that it is for,
# warnings denied. No C compiler of those is needed: nothing is linked.
set -eu
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

TARGETS="aarch64-apple-darwin x86_64-apple-darwin x86_64-pc-windows-gnu aarch64-unknown-linux-gnu"

if ! command -v rustup >/dev/null 2>&1; then
    echo "cross: skipped, because Rust's libraries of other systems come by rustup" >&2
    exit 0
fi
# shellcheck disable=SC2086 # a list of words
if ! rustup target add $TARGETS >&2; then
    echo "cross: skipped, because rustup cannot get $TARGETS" >&2
    exit 0
fi

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/cross"
export RUSTFLAGS="-D warnings"
# Headers of OpenSSL are alike enough; its libraries are only named.
openssl=$(pkg-config --variable=libdir openssl)
# SDKROOT keeps build scripts for macOS from asking for Apple's tools.
export SDKROOT=/ OPENSSL_NO_VENDOR=1
export OPENSSL_LIB_DIR="$openssl" OPENSSL_INCLUDE_DIR=/usr/include OPENSSL_LIBS=ssl:crypto

for target in $TARGETS; do
    name=$(echo "$target" | tr - _)
    echo "cross: $target" >&2
    env "CC_$name=$PWD/scripts/cross/cc.sh" "AR_$name=$PWD/scripts/cross/ar.sh" \
        "$CARGO" check --locked --quiet --all-targets --target "$target"
done
