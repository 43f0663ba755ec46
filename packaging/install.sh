#!/bin/sh
# Installs nsvm from a release, on Linux and macOS:
#   sh install.sh --version X.Y.Z --from URL [--prefix DIR]
#   sh install.sh --uninstall [--prefix DIR]
# URL is what the releases are below (URL/vX.Y.Z/SHA256SUMS), or a directory with
# the files of one. The prefix is ~/.local unless given; nothing needs root there.
# The archive is checked against SHA256SUMS. Machines and images are kept.
set -eu
prefix=$HOME/.local
version=
from=
uninstall=

fail() { echo "install: $*" >&2; exit 1; }
value() { [ $# -ge 2 ] || fail "$1 needs a value"; echo "$2"; }

while [ $# -gt 0 ]; do
    case $1 in
    --version) version=$(value "$@") && shift ;;
    --prefix) prefix=$(value "$@") && shift ;;
    --from) from=$(value "$@") && shift ;;
    --uninstall) uninstall=yes ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "\"$1\" is not known: see --help" ;;
    esac
    shift
done

if [ -n "$uninstall" ]; then
    rm -f "$prefix/bin/nsvm"
    rm -rf "$prefix/libexec/nsvm" "$prefix/share/nsvm"
    rm -f "$prefix"/share/man/man1/nsvm.1 "$prefix"/share/man/man1/nsvm-*.1 \
        "$prefix/share/bash-completion/completions/nsvm" \
        "$prefix/share/zsh/site-functions/_nsvm" \
        "$prefix/share/fish/vendor_completions.d/nsvm.fish"
    echo "nsvm is removed from $prefix. Its machines are still there." >&2
    exit 0
fi

case $(uname -s)-$(uname -m) in
Linux-x86_64) target=x86_64-unknown-linux-gnu ;;
Linux-aarch64) target=aarch64-unknown-linux-gnu ;;
Darwin-arm64) target=aarch64-apple-darwin ;;
Darwin-x86_64) target=x86_64-apple-darwin ;;
*) fail "there is no release for $(uname -sm)" ;;
esac

fetch() {
    case $1 in
    https://* | http://127.0.0.1:*) curl --fail --silent --show-error --location --output "$2" "$1" ;;
    /*) cp "$1" "$2" ;;
    *) fail "\"$1\" is neither https nor an absolute path" ;;
    esac
}

[ -n "$version" ] || fail "say which release: --version X.Y.Z"
[ -n "$from" ] || fail "say where releases are: --from URL"
# A directory holds one release.
case $from in /*) ;; *) from=$from/v$version ;; esac
name=nsvm-$version-$target
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fetch "$from/SHA256SUMS" "$work/SHA256SUMS"
fetch "$from/$name.tar.gz" "$work/$name.tar.gz"
cd "$work"
grep " [ *]\{0,1\}$name.tar.gz\$" SHA256SUMS >wanted || fail "SHA256SUMS does not name $name.tar.gz"
if command -v sha256sum >/dev/null 2>&1; then sha256sum --check --quiet wanted; else
    shasum -a 256 --check --quiet wanted
fi || fail "$name.tar.gz is not what SHA256SUMS says"
tar -xzf "$name.tar.gz"
mkdir -p "$prefix/bin" "$prefix/libexec/nsvm"
for agent in x86_64 aarch64; do
    cp "$name/libexec/nsvm/nsvm-agent-$agent" "$prefix/libexec/nsvm/.new"
    mv "$prefix/libexec/nsvm/.new" "$prefix/libexec/nsvm/nsvm-agent-$agent"
done
mkdir -p "$prefix/share"
cp -R "$name/share/." "$prefix/share/"
cp "$name/bin/nsvm" "$prefix/bin/.nsvm.new"
mv "$prefix/bin/.nsvm.new" "$prefix/bin/nsvm"
echo "nsvm $version is in $prefix/bin." >&2
case :$PATH: in *:"$prefix/bin":*) ;; *) echo "Put that on your PATH." >&2 ;; esac
command -v "qemu-system-$(uname -m | sed s/arm64/aarch64/)" >/dev/null 2>&1 ||
    echo "QEMU is needed too: \`nsvm machine start\` says how to install it." >&2
