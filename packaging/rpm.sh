#!/bin/sh
# Makes an RPM of an installed tree: sh packaging/rpm.sh TREE ARCH VERSION OUT
# See packaging/deb.sh for the arguments.
set -eu
tree=$(cd "$1" && pwd) arch=$2 version=$3 out=$(cd "$4" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A version of an RPM has no hyphen; a tilde sorts before the release.
rpmbuild -bb --quiet --target "$arch" --define "_topdir $work" --define "tree $tree" \
    --define "_version $(echo "$version" | tr - '~')" "$(dirname "$0")/nsvm.spec"
cp "$work"/RPMS/*/*.rpm "$out/"
