#!/bin/sh
# Fills version, addresses and digests of a release into the formula and the
# manifests: sh packaging/bump.sh DIST VERSION HOMEPAGE OUT
# DIST has the archives and SHA256SUMS of all systems; the releases are below
# HOMEPAGE/releases/download.
set -eu
here=$(dirname "$0")
dist=$1 version=$2 homepage=$3 out=$4
digest() {
    found=$(sed -n "s/^\([0-9a-f]\{64\}\) [ *]\{0,1\}$1\$/\1/p" "$dist/SHA256SUMS")
    [ -n "$found" ] || { echo "bump: SHA256SUMS does not name $1" >&2; exit 1; }
    echo "$found"
}
arm=$(digest "nsvm-$version-aarch64-apple-darwin.tar.gz")
intel=$(digest "nsvm-$version-x86_64-apple-darwin.tar.gz")
windows=$(digest "nsvm-$version-x86_64-pc-windows-gnu.zip" | tr a-f A-F)
mkdir -p "$out"
for file in "$here"/homebrew/*.rb "$here"/winget/*.yaml; do
    sed -e "s/@VERSION@/$version/g" -e "s|@HOMEPAGE@|$homepage|g" \
        -e "s|@URL@|$homepage/releases/download|g" -e "s/@SHA256_AARCH64_APPLE_DARWIN@/$arm/g" \
        -e "s/@SHA256_X86_64_APPLE_DARWIN@/$intel/g" \
        -e "s/@SHA256_X86_64_PC_WINDOWS_GNU@/$windows/g" "$file" >"$out/$(basename "$file")"
done
