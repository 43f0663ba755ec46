# Adds /etc/nsvm/ca/*.crt to the trust store, by the distribution's own means.
# Where a distribution looks for what an administrator adds:
#   Fedora, Rocky: /etc/pki/ca-trust/source/anchors   Arch: /etc/ca-certificates/trust-source/anchors
#   openSUSE: /etc/pki/trust/anchors                  Debian, Ubuntu, Alpine: /usr/local/share/ca-certificates
set -eu
umask 022
if command -v update-ca-trust >/dev/null 2>&1; then
    update=update-ca-trust
    set -- /etc/pki/ca-trust/source/anchors /etc/ca-certificates/trust-source/anchors
elif command -v update-ca-certificates >/dev/null 2>&1; then
    update=update-ca-certificates
    set -- /etc/pki/trust/anchors
    [ -d "$1" ] || { mkdir -p /usr/local/share/ca-certificates; set -- /usr/local/share/ca-certificates; }
else
    echo "this guest has no update-ca-trust and no update-ca-certificates" >&2
    exit 1
fi
for anchors; do
    [ ! -d "$anchors" ] || break
done
for certificate in /etc/nsvm/ca/*.crt; do
    cp "$certificate" "$anchors/nsvm-${certificate##*/}"
done
$update
: >/etc/nsvm/ca/trusted
