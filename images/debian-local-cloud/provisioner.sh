#!/bin/sh
# provisioner.sh ROOT: prepares the root for cloud-init. It runs on every boot
# and is Python: on an emulated CPU each module it need not look at counts.
set -eu
root=$1

# write FILE: standard input becomes ROOT/etc/FILE
write() {
	mkdir -p "$(dirname "$root/etc/$1")"
	cat >"$root/etc/$1"
}

# A seed disk, or nothing: no cloud's metadata server is asked. The lists keep
# what a user's own cloud-config is likely to say; modules of other
# distributions, of configuration systems and for a password's login are out.
write cloud/cloud.cfg.d/10-nsvm.cfg <<EOT
datasource_list: [NoCloud, None]
apt_preserve_sources_list: true
preserve_hostname: false
cloud_init_modules: [seed_random, bootcmd, write_files, growpart, resizefs, disk_setup,
  mounts, set_hostname, update_hostname, update_etc_hosts, ca_certs, users_groups, ssh, set_passwords]
cloud_config_modules: [locale, ntp, timezone, runcmd]
cloud_final_modules: [package_update_upgrade_install, write_files_deferred, scripts_vendor,
  scripts_per_once, scripts_per_boot, scripts_per_instance, scripts_user, phone_home,
  final_message, power_state_change]
EOT

# The name server comes by DHCP.
ln -sf /run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
# (systemctl warns of /proc, which offline work does not need)
for unit in systemd-networkd systemd-networkd-wait-online systemd-resolved; do
	chroot "$root" systemctl --quiet enable $unit.service 2>"$root/run/said" || cat "$root/run/said" >&2
done
rm -f "$root/run/said"
