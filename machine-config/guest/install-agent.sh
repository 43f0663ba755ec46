# Installs the uploaded agent. Runs as root with two arguments, the upload and
# its SHA-256; the function print_unit, which nsvm puts before it, prints the
# systemd unit.
set -eu
umask 022
upload=$1 sha=$2
trap 'rm -f "$upload"' EXIT
got=$(sha256sum "$upload" | cut -d' ' -f1)
if [ "$got" != "$sha" ]; then
    echo "the uploaded agent has SHA-256 $got instead of $sha" >&2
    exit 1
fi
dir=/usr/local/libexec
mkdir -p "$dir"
# A running binary cannot be written, but it can be replaced.
install -m 0755 "$upload" "$dir/.nsvm-agent.new"
if command -v restorecon >/dev/null 2>&1; then
    chcon -t bin_t "$dir/.nsvm-agent.new" 2>/dev/null || restorecon "$dir/.nsvm-agent.new" || true
fi
printf '%s\n' "$sha" >"$dir/.nsvm-agent.sha256.new"
mv -f "$dir/.nsvm-agent.new" "$dir/nsvm-agent"
mv -f "$dir/.nsvm-agent.sha256.new" "$dir/nsvm-agent.sha256"
# Now: what runs this may be the agent that is ended below.
sync -f "$dir/nsvm-agent" 2>/dev/null || sync
rm -f "$upload"
unit=/etc/systemd/system/nsvm-agent.service
if [ -e /run/nsvm/early ]; then
    # debian-local while it boots: systemd may not be there yet
    print_unit >"$unit.new"
    mv -f "$unit.new" "$unit"
    /usr/lib/nsvm/early renew agent
elif [ -d /run/systemd/system ]; then
    print_unit >"$unit.new"
    mv -f "$unit.new" "$unit"
    systemctl daemon-reload
    systemctl --quiet enable nsvm-agent.service
    systemctl restart --no-block nsvm-agent.service
elif command -v rc-service >/dev/null 2>&1; then
    printf '#!/sbin/openrc-run\nsupervisor=supervise-daemon\ncommand=%s/nsvm-agent\ncommand_args=serve\n' "$dir" \
        >/etc/init.d/nsvm-agent
    chmod 0755 /etc/init.d/nsvm-agent
    rc-update add nsvm-agent default >/dev/null
    # in a session of its own: it stops first what may run this
    setsid rc-service nsvm-agent restart >/dev/null
else
    echo "the guest has neither systemd nor OpenRC to run the agent" >&2
    exit 1
fi
