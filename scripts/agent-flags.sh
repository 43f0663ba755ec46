#!/bin/sh
# Prints the RUSTFLAGS of the guest's agent: sh scripts/agent-flags.sh TARGET
#
# Static, because it runs in guests of any distribution, and small, because it is
# put into every machine: no tables for unwinding (scripts/agent.ld), relative
# relocations in a few bytes, which programs of a C library older than glibc 2.36
# cannot read of themselves, and functions that are the same kept once, where the
# linker can. Small for x86_64 alone: GCC's crtbeginT.o for aarch64
# reads the tables, and Debian 12's linker packs no relocations of it.
set -eu
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

# links FLAG TARGET: whether the linker takes it
links() {
    dir=$(mktemp -d)
    echo 'fn main() {}' | "${RUSTC:-rustc}" --target "$2" -C "link-arg=$1" -o "$dir/program" - \
        2>/dev/null && taken=0 || taken=1
    rm -r "$dir"
    return $taken
}

case $1 in
x86_64-unknown-linux-gnu)
    small="-C link-arg=-Wl,--no-eh-frame-hdr -C link-arg=-Wl,-T,scripts/agent.ld"
    small="$small$(getconf GNU_LIBC_VERSION 2>/dev/null | awk '{ split($2, v, ".")
        if (v[1] > 2 || v[2] >= 36) print " -C link-arg=-Wl,-z,pack-relative-relocs" }')"
    # Only lld has it. Rust promises no function an address of its own.
    fold="-Wl,--icf=all"
    if links "$fold" "$1"; then small="$small -C link-arg=$fold"; fi
    ;;
*) small="" ;;
esac
echo "-C target-feature=+crt-static $small"
