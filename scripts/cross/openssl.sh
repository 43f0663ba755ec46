#!/bin/sh
# Builds OpenSSL's libcrypto for x86_64 Windows, static, and prints where it is:
# sh scripts/cross/openssl.sh CACHE
# From the source that the crate openssl-src brings, which builds four times as
# much. Releases take the crate's own way (Cargo.toml, `vendored-openssl`); this
# is for tests, and for any compiler of Rust.
set -eu
cache=$1
target=x86_64-pc-windows-gnu

source=$("$CARGO" metadata --locked --format-version 1 --filter-platform $target |
    tr ',' '\n' | sed -n 's/.*"manifest_path":"\(.*\/openssl-src-[^"/]*\)\/Cargo.toml".*/\1/p' | head -n 1)
[ -d "$source/openssl" ] || { echo "cross: the crate openssl-src is not there" >&2; exit 1; }
place=$cache/$(basename "$source")-$target
if ! [ -e "$place/lib/libcrypto.a" ]; then
    echo "cross: building OpenSSL for Windows" >&2
    work=$(mktemp -d "$cache/openssl.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    (
        cd "$work"
        # Only what SSH needs, without what it would refuse anyway.
        perl "$source/openssl/Configure" mingw64 --cross-compile-prefix=x86_64-w64-mingw32- \
            --prefix="$place" no-shared no-module no-tests no-apps no-docs no-comp no-zlib \
            no-legacy no-engine no-capieng no-winstore no-ssl3 no-dtls no-quic no-srp no-psk \
            no-cms no-ts no-ocsp no-ct no-cmp no-http no-srtp no-md2 no-rc2 no-rc4 no-rc5 \
            no-camellia no-idea no-seed no-aria no-sm2 no-sm3 no-sm4 no-gost no-whirlpool \
            no-ec2m no-ml-kem no-ml-dsa no-slh-dsa no-mdc2 no-bf no-cast no-rmd160 \
            -O1 -Wa,-mbig-obj
        make -j"$(nproc)" build_generated libcrypto.a
    ) >"$cache/openssl.log" 2>&1 || { tail -n 20 "$cache/openssl.log" >&2; exit 1; }
    mkdir -p "$place/include" "$place/lib"
    cp -R "$source/openssl/include/openssl" "$place/include/"
    cp "$work"/include/openssl/*.h "$place/include/openssl/"
    # libssh2 names it, and takes nothing from it.
    x86_64-w64-mingw32-ar rcs "$place/lib/libssl.a"
    # Last, for it says that the rest is there.
    cp "$work/libcrypto.a" "$place/lib/libcrypto.new"
    mv "$place/lib/libcrypto.new" "$place/lib/libcrypto.a"
fi
echo "$place"
