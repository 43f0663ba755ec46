# Takes over the variables that the host passed at this start, lines of
# NAME=value, byte for byte. From /run/nsvm-environment the guest agent gives
# them to each command and profile.d to each login shell; systemd gives them to
# every service, the users' own instances included. What an earlier start had
# passed is gone with /run.
set -eu
umask 022
passed=/sys/firmware/qemu_fw_cfg/by_name/opt/nsvm/environment/raw
[ -e "$passed" ] || modprobe -q qemu_fw_cfg || :
[ -e "$passed" ] || exit 0
cat "$passed" >/run/nsvm-environment.new
mv /run/nsvm-environment.new /run/nsvm-environment
set --
while IFS= read -r line; do set -- "$@" "$line"; done </run/nsvm-environment
# (`early` calls this where there is no systemd yet; its unit does so again)
[ $# = 0 ] || [ ! -d /run/systemd/system ] || systemctl set-environment "$@"
