#!/bin/sh
# Builds nsvm for Windows and runs its unit and command line tests under Wine.
# Prints the variables by which tests/wine, which boots a machine there, finds
# what was built. What takes long is kept outside the checkout. Needs x86_64
# Debian, and in NSVM_AGENT the path of the static agent.
set -eu
cd "$(dirname "$0")/.."
. scripts/foreign.sh

TARGET=x86_64-pc-windows-gnu
GCC=x86_64-w64-mingw32-gcc

sh scripts/setup.sh windows >&2
foreign_rust $TARGET
mkdir -p "$FOREIGN_CACHE"
openssl=$(sh scripts/cross/openssl.sh "$FOREIGN_CACHE")

export CARGO_TARGET_DIR="$FOREIGN_CACHE/windows"
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
export OPENSSL_NO_VENDOR=1 OPENSSL_STATIC=1 OPENSSL_LIBS=crypto
export OPENSSL_LIB_DIR="$openssl/lib" OPENSSL_INCLUDE_DIR="$openssl/include"

# A Windows of Wine's, made once. Without a display, and without what would ask
# whether to download more of it.
WINE=/usr/lib/wine/wine64
export WINEPREFIX="$FOREIGN_CACHE/wine" WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml="
unset DISPLAY
if ! [ -e "$WINEPREFIX/nsvm-ready" ]; then
    echo "windows: making a Wine prefix" >&2
    { "$WINE" wineboot -i && "$WINE" winecfg -v win10; } >"$FOREIGN_CACHE/wine.log" 2>&1 ||
        { cat "$FOREIGN_CACHE/wine.log" >&2; exit 1; }
    : >"$WINEPREFIX/nsvm-ready"
fi
$GCC -O2 -Wall -shared -s -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" \
    tests/wine/bcryptprimitives.c -ladvapi32

# Where the tests' nsvm.exe finds QEMU, and what it gives guests.
made=$CARGO_TARGET_DIR/programs
mkdir -p "$made"
$GCC -O2 -Wall -s -static -o "$made/qemu-system-x86_64.exe" tests/wine/launcher.c
on_drive() { echo "Z:$1" | tr / '\\'; }
WINEPATH=$(on_drive "$made")
agent=$(on_drive "$NSVM_AGENT")
export WINEPATH NSVM_TEST_PREFIX="$WINEPREFIX" NSVM_TEST_LOOPBACK=1

export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER="$PWD/scripts/cross/wine.sh"
# OpenPGP and registries are the same on all systems, and take long to build.
set -- --locked --quiet --target $TARGET --no-default-features --features host
# shellcheck disable=SC2086 # nothing or one word
NSVM_AGENT=$agent "$CARGO" test "$@" $BUILD_STD --lib --test cli >&2
# Once more what wants a console, which Wine makes of a terminal.
NSVM_TEST_CONSOLE=1 script -qec "'$CARGO' test $* $BUILD_STD --lib console::" /dev/null \
    </dev/null >"$FOREIGN_CACHE/console.log" 2>&1 || { cat "$FOREIGN_CACHE/console.log" >&2; exit 1; }

# The one that those tests ran.
cp "$CARGO_TARGET_DIR/$TARGET/debug/nsvm.exe" "$made/"
echo "export NSVM_WINDOWS='$made' NSVM_WINE_PREFIX='$WINEPREFIX'"
