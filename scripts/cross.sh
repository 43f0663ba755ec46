#!/bin/sh
# Type-checks the package and its tests for the other systems that it is for,
# warnings denied. No C compiler of those is needed: nothing is linked. Arguments
# name some of the targets.
set -eu
cd "$(dirname "$0")/.."
. scripts/foreign.sh

ALL="aarch64-apple-darwin x86_64-apple-darwin x86_64-pc-windows-gnu aarch64-unknown-linux-gnu"
TARGETS=${*:-$ALL}

# shellcheck disable=SC2086 # a list of words
if ! foreign_rust $TARGETS; then
    echo "cross: Rust's libraries of other systems come by rustup, or on Debian from rust-web-src" >&2
    # Debian is where this must work, for all that is needed is in its archive.
    grep -qs "^ID=debian$" /etc/os-release && exit 1
    echo "cross: skipped" >&2
    exit 0
fi

export CARGO_TARGET_DIR="$FOREIGN_CACHE/check"
# A cache that is shared is not to grow with every change.
export CARGO_INCREMENTAL=0
export RUSTFLAGS="-D warnings"
# Headers of OpenSSL are alike enough; its libraries are only named.
openssl=$(pkg-config --variable=libdir openssl)
# SDKROOT keeps build scripts for macOS from asking for Apple's tools.
export SDKROOT=/ OPENSSL_NO_VENDOR=1
export OPENSSL_LIB_DIR="$openssl" OPENSSL_INCLUDE_DIR=/usr/include OPENSSL_LIBS=ssl:crypto

for target in $TARGETS; do
    name=$(echo "$target" | tr - _)
    echo "cross: $target" >&2
    # shellcheck disable=SC2086 # nothing or one word
    env "CC_$name=$PWD/scripts/cross/cc.sh" "AR_$name=$PWD/scripts/cross/ar.sh" \
        "$CARGO" check --locked --quiet --all-targets --target "$target" $BUILD_STD
done
