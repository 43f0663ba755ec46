//! Making a group and writing its limits.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::CgroupError;
use crate::namespace::limits::{Limits, Setting, bfq_weight};

pub fn ensure_dir(path: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(CgroupError::io("make the control group", path)),
    }
}

/// Lets the groups below `ours` have the controllers they need.
pub fn hand_out(root: &Path, ours: &Path, limits: &Limits) -> Result<(), CgroupError> {
    for (controller, option) in limits.controllers() {
        if !lists(&root.join("cgroup.controllers"), controller) {
            return Err(CgroupError::Controller { option, controller });
        }
        for dir in [root, ours] {
            let file = dir.join("cgroup.subtree_control");
            if !lists(&file, controller) {
                write(&file, &format!("+{controller}"))?;
            }
        }
    }
    Ok(())
}

pub fn limit(group: &Path, limits: &Limits) -> Result<(), CgroupError> {
    for Setting { file, value, optional } in limits.settings() {
        let file = group.join(file);
        if !optional || file.exists() {
            write(&file, &value)?;
        }
    }
    limits.io_weight.map_or(Ok(()), |weight| weigh(group, weight))
}

/// There is a file for each way in which the kernel can weigh: io.cost and
/// the BFQ scheduler. Which of them a disk uses is its own setting.
fn weigh(group: &Path, weight: u16) -> Result<(), CgroupError> {
    let files = [("io.weight", weight), ("io.bfq.weight", bfq_weight(weight))];
    let present = files.map(|(name, weight)| (group.join(name), weight));
    let mut present = present.iter().filter(|(file, _)| file.exists()).peekable();
    if present.peek().is_none() {
        return Err(CgroupError::Weight);
    }
    present.try_for_each(|(file, weight)| write(file, &format!("default {weight}")))
}

fn lists(file: &Path, controller: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().any(|word| word == controller)
}

fn write(file: &Path, value: &str) -> Result<(), CgroupError> {
    put(file, value).map_err(CgroupError::io("write", file))
}

/// Without O_CREAT, for which the kernel has another error than for a file
/// that is not there.
pub fn put(file: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files as the kernel would have them.
    fn tree(controllers: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("ours")).unwrap();
        fs::write(root.path().join("cgroup.controllers"), controllers).unwrap();
        for file in ["cgroup.subtree_control", "ours/cgroup.subtree_control", "memory.max"] {
            fs::write(root.path().join(file), "").unwrap();
        }
        root
    }

    #[test]
    fn a_controller_the_kernel_lacks_is_named_with_its_option() {
        let root = tree("cpu memory pids\n");
        let limits = Limits { memory: Some(1), io_weight: Some(1), ..Limits::default() };
        let refused = hand_out(root.path(), &root.path().join("ours"), &limits).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "--io-weight needs the controller \"io\", which this kernel does not offer"
        );
        let control = |dir: &str| fs::read_to_string(root.path().join(dir)).unwrap();
        assert_eq!(control("cgroup.subtree_control"), "+memory");
        assert_eq!(control("ours/cgroup.subtree_control"), "+memory");
    }

    #[test]
    fn limits_are_written_and_weights_only_where_there_is_a_file() {
        let root = tree("");
        let limits = Limits { memory: Some(4096), io_weight: Some(200), ..Limits::default() };
        assert!(matches!(limit(root.path(), &limits), Err(CgroupError::Weight)));
        let read = |name: &str| fs::read_to_string(root.path().join(name)).unwrap();
        assert_eq!(read("memory.max"), "4096");
        assert!(!root.path().join("memory.swap.max").exists(), "this kernel has no swap");
        fs::write(root.path().join("io.bfq.weight"), "").unwrap();
        limit(root.path(), &limits).unwrap();
        assert_eq!(read("io.bfq.weight"), "default 109");
    }
}
