#!/bin/sh
# Looks whether a release is whole: sh packaging/check.sh DIST
# Each archive has its files, the digests are right, and each program that this
# host can run (Linux's by qemu-user, Windows' by Wine, where they are installed)
# says its version and lists no machines.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dist=$(cd "$1" && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$here/../Cargo.toml" | head -n 1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The Windows that scripts/windows.sh made.
wine=${XDG_CACHE_HOME:-$HOME/.cache}/nsvm/build/wine
if [ -e "$wine/nsvm-ready" ]; then export WINEPREFIX="$wine" WINEDEBUG=-all; fi
fail() { echo "check: $*" >&2; exit 1; }

has() {
    tree=$1
    shift
    for file in "$@"; do
        [ -s "$tree/$file" ] || fail "$(basename "$tree") has no $file"
    done
}

# "nsvm X.Y.Z", and a table without a line.
runs() {
    name=$1
    shift
    said=$("$@" --version | tr -d '\r') || fail "$name: --version ends with $?"
    case $said in "nsvm $version"*) ;; *) fail "$name says \"$said\"" ;; esac
    listed=$(NSVM_HOME="$work/home" "$@" machine list | tr -d '\r') || fail "$name: machine list ends with $?"
    case $listed in NAME*) ;; *) fail "$name lists \"$listed\"" ;; esac
    echo "check: $name runs: $said" >&2
}

try() {
    target=$1 program=$2
    case $target in
    "$(uname -m)-unknown-linux-gnu") runs "$target" "$program" ;;
    aarch64-*linux*)
        if command -v qemu-aarch64-static >/dev/null 2>&1; then
            runs "$target" qemu-aarch64-static "$program"
        else echo "check: $target is not run: qemu-aarch64-static is not installed" >&2; fi
        ;;
    *windows*)
        if [ -n "${WINEPREFIX:-}" ]; then runs "$target" /usr/lib/wine/wine64 "$program"
        else echo "check: $target is not run: \`make windows\` has made no Wine prefix" >&2; fi
        ;;
    *darwin*)
        if [ "$(uname -s)" = Darwin ]; then runs "$target" "$program"; fi
        ;;
    esac
}

for archive in "$dist"/nsvm-"$version"-*.tar.gz "$dist"/nsvm-"$version"-*.zip; do
    [ -e "$archive" ] || continue
    name=$(basename "$archive" | sed 's/\.tar\.gz$//; s/\.zip$//')
    case $archive in
    *.zip) (cd "$work" && unzip -q "$archive") ;;
    *) tar -C "$work" -xzf "$archive" ;;
    esac
    tree=$work/$name
    case $name in
    *windows*)
        has "$tree" nsvm.exe nsvm-agent-x86_64 nsvm-agent-aarch64
        program=$tree/nsvm.exe
        ;;
    *)
        has "$tree" bin/nsvm libexec/nsvm/nsvm-agent-x86_64 libexec/nsvm/nsvm-agent-aarch64
        program=$tree/bin/nsvm
        ;;
    esac
    has "$tree" LICENSE README.md CHANGELOG.md share/man/man1/nsvm.1 \
        share/man/man1/nsvm-machine-init.1 share/bash-completion/completions/nsvm \
        share/zsh/site-functions/_nsvm share/fish/vendor_completions.d/nsvm.fish share/nsvm/nsvm.ps1
    try "${name#nsvm-"$version"-}" "$program"
done

has "$dist" SHA256SUMS "nsvm-$version-sbom.json"
for crate in clap libssh2-sys tokio; do
    grep -q "\"name\": \"$crate\"" "$dist/nsvm-$version-sbom.json" || fail "the SBOM has no $crate"
done
sum=sha256sum
command -v $sum >/dev/null 2>&1 || sum="shasum -a 256"
cd "$dist"
$sum -c SHA256SUMS >/dev/null || fail "SHA256SUMS is wrong"
for file in *; do
    [ "$file" = SHA256SUMS ] || grep -q " [ *]\{0,1\}$file\$" SHA256SUMS || fail "SHA256SUMS lacks $file"
done
echo "check: $(ls | wc -l | tr -d ' ') files, all there" >&2
