//! The host's directories in the guest: QEMU saves no guest that has one
//! mounted. They are let go of before, and mounted again after.

use std::time::Duration;

use super::guest::run_as_root;
use super::lifecycle::Failure;
use crate::link::Link;
use crate::machine::volume::Volume;

/// Each mount takes some processes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mount namespace that was made without propagation has mounts of its own:
/// then nothing is unmounted. In one of a user namespace they are locked, even
/// for root (`mount_namespaces(7)`); in others they could be taken away, but not
/// brought back, because Linux mounts a 9p channel only once. Volumes that
/// lie in others go first: they were mounted last. What uses one only for a moment,
/// as a system that is still coming up does, is given five seconds. The unit
/// mounts them when it is started next.
const RELEASE: &str = r#"
own=$(readlink /proc/self/ns/mnt)
find /proc/[0-9]*/ns/mnt -maxdepth 0 -printf '%l %h\n' 2>/dev/null | {
    last=''
    while read -r mounts process; do
        [ "$mounts" != "$own" ] && [ "$mounts" != "$last" ] || continue
        last=$mounts
        held=$(grep ' - 9p nsvm' "${process%/ns}/mountinfo" 2>/dev/null | grep -v ' master:')
        [ -z "$held" ] && continue
        process=${process%/ns}
        echo "process ${process#/proc/} has them in a mount namespace of its own"
        exit 1
    done
} || exit
[ ! -S /run/systemd/private ] || systemctl stop nsvm-settings.service
for target; do
    tries=0
    while mountpoint -q "$target" && ! said=$(umount "$target" 2>&1); do
        tries=$((tries + 1))
        [ $tries -lt 10 ] || { printf '%s\n' "$said"; exit 1; }
        sleep 0.5
    done
done"#;

/// What has been mounted already stays.
const MOUNT: &str =
    "[ -S /run/systemd/private ] || exec flock /run/nsvm-settings sh /etc/nsvm/settings.sh
systemctl start nsvm-settings.service";

/// Unmounts them all, or none.
pub async fn release(link: &Link, volumes: &[Volume]) -> Result<(), Failure> {
    let mut targets: Vec<&str> = volumes.iter().map(|volume| volume.target.as_str()).collect();
    targets.sort_unstable();
    targets.reverse();
    let released = run_as_root(link, RELEASE, &targets, PATIENCE).await;
    let Err(why) = released else { return Ok(()) };
    mount(link).await;
    Err(Failure {
        message: format!("its volumes cannot be unmounted: {why}"),
        hint: Some(
            "End what uses them (`nsvm ns rm`, `nsvm lsns`), make namespaces with \
             `--propagation slave`, or stop the machine instead"
                .into(),
        ),
    })
}

/// Mounts what is not mounted. A start looks at how that went; here it is only
/// noted.
pub async fn mount(link: &Link) {
    if let Err(why) = run_as_root(link, MOUNT, &[], PATIENCE).await {
        tracing::warn!("mounting the volumes again: {why}");
    }
}
