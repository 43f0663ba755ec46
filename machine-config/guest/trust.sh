# Adds /etc/nsvm/ca/*.crt to the trust store, in the distribution's own place.
# Where a distribution looks for what an administrator adds:
#   Fedora, Rocky: /etc/pki/ca-trust/source/anchors   Arch: /etc/ca-certificates/trust-source/anchors
#   openSUSE: /etc/pki/trust/anchors                  Debian, Ubuntu, Alpine: /usr/local/share/ca-certificates
set -eu
umask 022
etc=/etc
local=/usr/local/share/ca-certificates

# add_to ANCHORS: the copies that every later update of the store takes in
add_to() {
    mkdir -p "$1"
    for certificate in "$etc"/nsvm/ca/*.crt; do
        cp "$certificate" "$1/nsvm-${certificate##*/}"
    done
}

# Debian's update-ca-certificates links and hashes all 150 authorities anew, by
# a thousand processes: a minute on an emulated CPU. This does to the store what
# it would do for ours, provided that no hook wants to know.
add_to_debian_store() {
    for certificate in "$local"/nsvm-*.crt; do
        name=${certificate##*/}
        name=${name%.crt}.pem
        ln -sf "$certificate" "$etc/ssl/certs/$name"
        hash=$(openssl x509 -noout -hash -in "$certificate")
        number=0
        while [ -e "$etc/ssl/certs/$hash.$number" ]; do number=$((number + 1)); done
        ln -s "$name" "$etc/ssl/certs/$hash.$number"
    done
    cat "$bundle" "$local"/nsvm-*.crt >"$bundle.new"
    mv "$bundle.new" "$bundle"
}

bundle=$etc/ssl/certs/ca-certificates.crt
if command -v update-ca-trust >/dev/null 2>&1; then
    anchors=$etc/pki/ca-trust/source/anchors
    [ -d "$anchors" ] || anchors=$etc/ca-certificates/trust-source/anchors
    add_to "$anchors"
    update-ca-trust
elif [ -d "$etc/pki/trust/anchors" ]; then
    add_to "$etc/pki/trust/anchors"
    update-ca-certificates
elif [ -e "$etc/debian_version" ] && [ -e "$bundle" ] && [ -z "$(ls "$etc/ca-certificates/update.d")" ]; then
    add_to "$local"
    add_to_debian_store
elif command -v update-ca-certificates >/dev/null 2>&1; then
    add_to "$local"
    update-ca-certificates
else
    echo "this guest has no update-ca-trust and no update-ca-certificates" >&2
    exit 1
fi
: >"$etc/nsvm/ca/trusted"
