//! What a machine may have of its host.

use std::fs;

use anyhow::Context as _;

use super::{Context, Refusal};
use crate::host;
use crate::machine::config::Resources;
use crate::machine::event::Progress;
use crate::machine::units::{GiB, MiB, human_bytes};

/// Less than this no known image boots in.
const MIN_MEMORY: MiB = MiB(256);

/// qcow2 and ext4 both end here or soon after.
const MAX_DISK: GiB = GiB(16 * 1024);

/// Refuses what a host of so many CPUs and so much memory cannot give.
pub fn check(wanted: &Resources, host_cpus: u32, host_memory: Option<u64>) -> Result<(), Refusal> {
    if wanted.cpus == 0 || wanted.cpus > host_cpus {
        let text =
            format!("cannot give the machine {} CPUs: this host has {host_cpus}", wanted.cpus);
        return Err(Refusal::new(text).hint(format!("Use --cpus 1 to --cpus {host_cpus}")));
    }
    if wanted.memory < MIN_MEMORY {
        let text = format!("{} MiB of memory are too little for a guest", wanted.memory.0);
        return Err(Refusal::new(text).hint(format!("Use --memory {} or more", MIN_MEMORY.0)));
    }
    if let Some(total) = host_memory.filter(|total| wanted.memory.bytes() > *total) {
        let text = format!(
            "{} MiB of memory are more than this host has ({})",
            wanted.memory.0,
            human_bytes(total)
        );
        return Err(Refusal::new(text).hint(format!("Use --memory {} or less", total >> 20)));
    }
    if wanted.disk_size > MAX_DISK || wanted.disk_size.0 == 0 {
        let text = format!("a disk of {} GiB is not possible", wanted.disk_size.0);
        return Err(Refusal::new(text).hint(format!("Use --disk-size 1 to {}", MAX_DISK.0)));
    }
    if wanted.swap.bytes() >= wanted.disk_size.bytes() {
        let text = format!(
            "{} MiB of swap do not fit on a disk of {} GiB",
            wanted.swap.0, wanted.disk_size.0
        );
        return Err(Refusal::new(text).hint("Use a smaller --swap or a larger --disk-size"));
    }
    Ok(())
}

/// The overlay starts small and grows: only what can never fit is refused.
pub fn check_room(context: &Context, size: GiB, progress: &dyn Progress) -> anyhow::Result<()> {
    let data = &context.store.dirs().data;
    fs::create_dir_all(data).with_context(|| format!("creating \"{}\"", data.display()))?;
    let Ok((free, total)) = host::disk_space(data) else { return Ok(()) };
    if size.bytes() > total {
        let text = format!(
            "a disk of {} GiB can never fit on the file system of \"{}\" ({})",
            size.0,
            data.display(),
            human_bytes(total)
        );
        return Err(Refusal::new(text).hint("Use a smaller --disk-size").into());
    }
    if size.bytes() > free {
        progress.warn(format!(
            "the disk may grow to {} GiB, but only {} are free now",
            size.0,
            human_bytes(free)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(cpus: u32, memory: u64, disk: u64) -> Resources {
        Resources { cpus, memory: MiB(memory), disk_size: GiB(disk), swap: MiB(0) }
    }

    #[test]
    fn resources_within_the_host_are_accepted() {
        assert_eq!(check(&wanted(2, 2048, 100), 2, Some(GiB(2).bytes())), Ok(()));
        assert_eq!(check(&wanted(1, 256, 16384), 2, None), Ok(()));
    }

    #[test]
    fn swap_lies_on_the_disk() {
        let big = Resources { swap: MiB(2048), ..wanted(1, 256, 2) };
        let refused = check(&big, 1, None).unwrap_err();
        assert!(refused.message.contains("2048 MiB of swap"), "{refused}");
    }

    #[test]
    fn each_refusal_names_the_number_and_the_limit() {
        for (bad, text) in [
            (wanted(3, 2048, 10), "3 CPUs: this host has 2"),
            (wanted(0, 2048, 10), "0 CPUs"),
            (wanted(1, 255, 10), "255 MiB"),
            (wanted(1, 4096, 10), "more than this host has (2.0 GiB)"),
            (wanted(1, 2048, 16385), "16385 GiB"),
            (wanted(1, 2048, 0), "0 GiB"),
        ] {
            let refused = check(&bad, 2, Some(GiB(2).bytes())).unwrap_err();
            assert!(refused.message.contains(text), "{refused}");
            assert!(refused.hint.is_some(), "{refused}");
        }
    }
}
