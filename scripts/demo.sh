#!/bin/sh
# Shows what nsvm exists for: sh scripts/demo.sh PATH/TO/nsvm
set -eu
nsvm=$1
machine=nsvm-demo

explain() { printf '\n== %s\n' "$*"; }
run() {
    printf '$ nsvm'
    for word in "$@"; do
        case $word in *[!a-zA-Z0-9_./=:-]* | '') printf " '%s'" "$word" ;; *) printf ' %s' "$word" ;; esac
    done
    printf '\n'
    "$nsvm" "$@"
}

# On Debian its own packages make the image; elsewhere it is
# downloaded.
if grep -qs "^ID=debian$" /etc/os-release && [ "$(uname -m)" = x86_64 ]; then
    image=debian-local
else
    image=fedora-coreos
fi

if ! "$nsvm" machine inspect "$machine" >/dev/null 2>&1; then
    explain "init: get and verify the image, make a disk, keys and provisioning of the machine's own"
    run machine init --image "$image" --memory 1024 --disk-size 12 "$machine"
fi

state=$("$nsvm" machine inspect "$machine" | sed -n 's/^ *"State": "\(.*\)",*$/\1/p')
if [ "$state" != running ]; then
    explain "start: boot it under QEMU and wait until commands can run in it"
    run machine start "$machine"
fi

explain "inspect: everything about it, as JSON"
run machine inspect "$machine"

explain "unshare: a shell in new user, PID and mount namespaces, inside the VM:" \
    "it is PID 1, and root of nothing but its own namespace"
run --machine "$machine" unshare --user --pid --map-root-user --mount-proc --fork bash -c 'ps -ef; exit'

cat <<EOF

The machine goes on running. Try it yourself:
  $nsvm --machine $machine unshare --user --pid --map-root-user --mount-proc --fork bash
  $nsvm machine ssh $machine
  $nsvm machine stop $machine
  $nsvm machine rm -f $machine
EOF
