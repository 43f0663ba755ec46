# Finds a cargo of at least 1.89 and sets CARGO (and RUSTC where the two belong
# together). Sourced, or run with --check to say whether there is one.
# shellcheck shell=sh

_new_enough() {
    "$1" --version 2>/dev/null | awk '{ split($2, v, "."); exit !(v[1] > 1 || v[2] >= 89) }'
}

_find_cargo() {
    for candidate in "${CARGO:-cargo}" cargo "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" /usr/bin/cargo; do
        path=$(command -v "$candidate") || continue
        if _new_enough "$path"; then
            echo "$path"
            return 0
        fi
    done
    echo "nsvm needs Rust 1.89 or newer: see https://rustup.rs, or on Debian 12 install rustc-web and cargo-web" >&2
    return 1
}

CARGO=$(_find_cargo) || exit 1
export CARGO
# Debian's cargo must not pick up an older rustc that comes earlier in PATH.
case $CARGO in /usr/bin/*) export RUSTC=/usr/bin/rustc ;; esac
