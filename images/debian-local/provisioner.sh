#!/bin/sh
# provisioner.sh ROOT: prepares the root for Ignition, which runs in the
# initramfs (`init`) and needs nothing else of the guest.
set -eu
root=$1

# Ignition relabels whenever it thinks it can; the initramfs' stub `setfiles`
# satisfies it once this file names a policy.
mkdir -p "$root/etc/selinux"
echo SELINUXTYPE=none >"$root/etc/selinux/config"

# written at each boot by the initramfs; a plain file in its place stays
ln -sf /run/resolv.conf "$root/etc/resolv.conf"
