//! What unfinished work has left: for how long it is worth keeping, and its
//! removal, which never takes anything from a process that still works on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Cache, Key, Lock};
use crate::host;

/// An unfinished download is worth its space for so long.
const DOWNLOAD_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Far longer than the write of a small file takes.
const TEMPORARY_KEPT: Duration = Duration::from_secs(3600);

/// A file or directory that nothing but unfinished work needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOver {
    pub path: PathBuf,
    /// That it takes on the disk.
    pub bytes: u64,
    /// Whose lock tells whether somebody works on it; empty for none.
    key: String,
}

impl Cache {
    /// Removes what killed processes left. Failing to is no reason to stop.
    pub(super) fn sweep(&self) {
        for left in self.left_overs(false) {
            self.remove_left_over(&left);
        }
    }

    /// Removes what an unfinished download has left: it is in the cache now, or
    /// it was wrong. The caller holds the lock of its key.
    pub(in crate::image) fn forget_download(&self, key: &Key) {
        let (bytes, note) = self.download(key);
        let _ = fs::remove_file(bytes);
        let _ = fs::remove_file(note);
    }

    /// The same for a download that is in the cache, whose program was killed
    /// before it did so. Nothing is taken from a process that works on it.
    pub(super) fn forget_finished_download(&self, key: &Key) {
        if !self.download(key).0.exists() {
            return;
        }
        if let Ok(Some(_lock)) = Lock::try_acquire(&self.lock_path(&key.0)) {
            self.forget_download(key);
        }
    }

    /// What can go; with `all` also what would have saved time: downloads to
    /// be continued, packages of builds, templates.
    pub fn left_overs(&self, all: bool) -> Vec<LeftOver> {
        let mut found = Vec::new();
        for dir in [&self.dir, &self.dir.join("index")] {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                match left_over(&name.to_string_lossy()) {
                    Some((key, kept)) if all || is_older(&path, kept) => {
                        let (key, bytes) = (key.to_owned(), allocated(&path));
                        found.push(LeftOver { path, bytes, key });
                    }
                    _ => {}
                }
            }
        }
        let whole = [self.packages(), self.templates_dir()];
        for path in whole.into_iter().filter(|path| all && path.is_dir()) {
            let bytes = allocated(&path);
            found.push(LeftOver { path, bytes, key: String::new() });
        }
        found.retain(|left| !self.is_worked_on(left));
        found
    }

    fn is_worked_on(&self, left: &LeftOver) -> bool {
        !left.key.is_empty() && crate::fs::is_locked(&self.lock_path(&left.key)).unwrap_or(true)
    }

    /// Removes it unless its key's lock says that somebody works on it; tells
    /// whether it is gone.
    pub fn remove_left_over(&self, left: &LeftOver) -> bool {
        let lock = (!left.key.is_empty()).then(|| Lock::try_acquire(&self.lock_path(&left.key)));
        if !matches!(lock, None | Some(Ok(Some(_)))) {
            return false;
        }
        let path = &left.path;
        let removed =
            if path.is_dir() { fs::remove_dir_all(path) } else { host::remove_file(path) };
        removed.is_ok()
    }
}

/// The key of a file that only unfinished work needs (none for a temporary
/// file of an atomic write), and how long it is worth keeping.
fn left_over(name: &str) -> Option<(&str, Duration)> {
    let (key, suffix) = name.split_once('.')?;
    match suffix {
        "partial" | "work" => Some((key, Duration::ZERO)),
        "download" | "download.json" => Some((key, DOWNLOAD_KEPT)),
        suffix if key.is_empty() && suffix.starts_with("tmp-") => Some((key, TEMPORARY_KEPT)),
        _ => None,
    }
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|found| found.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|elapsed| elapsed >= age))
}

/// Bytes on the disk of a file, or of all files below a directory.
pub(super) fn allocated(path: &Path) -> u64 {
    let Ok(found) = path.symlink_metadata() else { return 0 };
    if !found.is_dir() {
        return host::allocated_bytes(&found);
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| allocated(&entry.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unfinished_work_is_left_over() {
        assert_eq!(left_over("recipe-x.work"), Some(("recipe-x", Duration::ZERO)));
        assert_eq!(left_over("file-1.partial"), Some(("file-1", Duration::ZERO)));
        assert_eq!(left_over("download-1.download.json"), Some(("download-1", DOWNLOAD_KEPT)));
        assert_eq!(left_over(".tmp-abc"), Some(("", TEMPORARY_KEPT)));
        for kept in ["0123.qcow2", "0123.raw", "file-1.json", "locks", "packages", ".hidden"] {
            assert_eq!(left_over(kept), None, "{kept}");
        }
    }

    #[test]
    fn what_is_worked_on_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        fs::write(dir.path().join("file-1.partial"), b"x").unwrap();
        fs::write(dir.path().join("download-1.download"), b"x").unwrap();
        let names = |all| {
            let name = |left: LeftOver| left.path.file_name().unwrap().to_owned();
            cache.left_overs(all).into_iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["file-1.partial"]);
        assert_eq!(names(true).len(), 2);
        let lock = Lock::try_acquire(&cache.lock_path("file-1")).unwrap().unwrap();
        assert_eq!(names(true), ["download-1.download"]);
        drop(lock);
        for left in cache.left_overs(true) {
            assert!(cache.remove_left_over(&left));
        }
        assert!(cache.left_overs(true).is_empty());
    }
}
