#!/bin/sh
# Prints the RUSTFLAGS of the guest's agent: sh scripts/agent-flags.sh TARGET
#
# Static, because it runs in guests of any distribution, and small, because it is
# put into every machine: no tables for unwinding (scripts/agent.ld), and relative
# relocations in a few bytes, which programs of a C library older than glibc 2.36
# cannot read of themselves. Small for x86_64 alone: GCC's crtbeginT.o for aarch64
# reads the tables, and Debian 12's linker packs no relocations of it.
set -eu
case $1 in
x86_64-unknown-linux-gnu)
    small="-C link-arg=-Wl,--no-eh-frame-hdr -C link-arg=-Wl,-T,scripts/agent.ld"
    small="$small$(getconf GNU_LIBC_VERSION 2>/dev/null | awk '{ split($2, v, ".")
        if (v[1] > 2 || v[2] >= 36) print " -C link-arg=-Wl,-z,pack-relative-relocs" }')"
    ;;
*) small="" ;;
esac
echo "-C target-feature=+crt-static $small"
