//! The root file systems that are kept here: telling and removing them, by a
//! process of their own, because both may take long.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{ground, store};
use crate::agent::failure::{failed, text};
use crate::agent::sys;
use crate::namespace::rootfs::{Kept, KeptKind, RootFsAnswer, RootFsVerb, find};
use crate::namespace::run::{Digest, is_name};
use crate::protocol::outcome::{FailedStep, Failure};

/// Does what is asked, writes the [`RootFsAnswer`] to stdout and ends this
/// process; returns only why it could not.
pub fn answer(verb: &RootFsVerb) -> Failure {
    let answered = all().map(|all| match verb {
        RootFsVerb::List => RootFsAnswer { kept: all, failures: Vec::new() },
        RootFsVerb::Remove { names, force } => remove_each(all, names, *force),
    });
    let told = answered.and_then(|answer| {
        let bytes = rmp_serde::to_vec_named(&answer).map_err(io::Error::other)?;
        File::from(rustix::stdio::stdout().try_clone_to_owned()?).write_all(&bytes)
    });
    match told {
        Ok(()) => sys::exit_now(0),
        Err(e) => failed(FailedStep::Request, "cannot list the root file systems", &e),
    }
}

/// The named ones first, each kind by name.
fn all() -> io::Result<Vec<Kept>> {
    let mut named = Vec::new();
    for name in names(&ground::all_named())?.into_iter().filter(|name| is_name(name)) {
        let from = ground::source_of(&name);
        named.extend(look(KeptKind::Named, name)?.map(|kept| Kept { from, ..kept }));
    }
    let mut sent = Vec::new();
    for name in names(&store::roots())? {
        if Digest::try_from(name.clone()).is_err() {
            continue;
        }
        let source = ground::source_of_digest(&name);
        let users = named.iter().filter(|kept: &&Kept| kept.from.as_deref() == Some(&*source));
        let used_by = users.map(|kept| kept.name.clone()).collect();
        sent.extend(look(KeptKind::Sent, name)?.map(|kept| Kept { used_by, ..kept }));
    }
    named.extend(sent);
    Ok(named)
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

/// None: it has just been removed.
fn look(kind: KeptKind, name: String) -> io::Result<Option<Kept>> {
    let dir = dir_of(kind, &name);
    let metadata = match fs::symlink_metadata(&dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata?,
    };
    let created = metadata.created().or_else(|_| metadata.modified());
    let since = created.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    Ok(Some(Kept {
        kind,
        from: None,
        created: since.and_then(|time| i64::try_from(time.as_secs()).ok()).unwrap_or(0),
        size: size(&dir, &metadata),
        in_use: claim(&dir).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock),
        used_by: Vec::new(),
        name,
    }))
}

fn dir_of(kind: KeptKind, name: &str) -> PathBuf {
    match kind {
        KeptKind::Named => ground::all_named().join(name),
        KeptKind::Sent => store::roots().join(name),
    }
}

/// What it takes of the disk, in bytes: a file with several names once.
fn size(dir: &Path, metadata: &Metadata) -> u64 {
    let (mut sum, mut seen) = (metadata.blocks(), HashSet::new());
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        // A program may still be changing it.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                dirs.push(entry.path());
            }
            if metadata.is_dir() || metadata.nlink() == 1 || seen.insert(metadata.ino()) {
                sum += metadata.blocks();
            }
        }
    }
    // stat(2): in units of 512 bytes, whatever the file system's are.
    sum * 512
}

/// Nobody runs on it, and nobody will while this is kept.
fn claim(dir: &Path) -> io::Result<File> {
    let file = File::open(dir)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

fn remove_each(mut all: Vec<Kept>, names: &[String], force: bool) -> RootFsAnswer {
    let mut answer = RootFsAnswer::default();
    for name in names {
        let found = match find(&all, name) {
            Ok(found) => found.clone(),
            Err(_) if force && !is_ambiguous(&all, name) => continue,
            Err(e) => {
                answer.failures.push(e.to_string());
                continue;
            }
        };
        match remove(&found, force) {
            Ok(()) => {
                all.retain(|kept| *kept != found);
                for kept in &mut all {
                    kept.used_by.retain(|user| *user != found.name);
                }
                answer.kept.push(found);
            }
            Err(reason) => answer.failures.push(reason),
        }
    }
    answer
}

fn is_ambiguous(all: &[Kept], text: &str) -> bool {
    use crate::namespace::rootfs::FindError::Several;
    matches!(find(all, text), Err(Several(_)))
}

fn remove(kept: &Kept, force: bool) -> Result<(), String> {
    let name = &kept.name;
    if !kept.used_by.is_empty() && !force {
        let users = kept.used_by.join("\", \"");
        return Err(format!(
            "\"{name}\" is what \"{users}\" was made from: remove that before, or give --force"
        ));
    }
    let dir = dir_of(kept.kind, name);
    let lock = claim(&dir).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => format!("\"{name}\" is in use: a program runs on it"),
        _ => format!("cannot remove \"{name}\": {}", text(&e)),
    })?;
    // Out of sight at once; what is left of it when this is killed goes with
    // what was not finished.
    let removed = store::out_of_sight(&dir, name).and_then(fs::remove_dir_all);
    drop(lock);
    removed.map_err(|e| format!("cannot remove \"{name}\": {}", text(&e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_several_names_count_once() {
        let dir = tempfile::tempdir().unwrap();
        let of = |dir: &Path| size(dir, &fs::symlink_metadata(dir).unwrap());
        let empty = of(dir.path());
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/a"), vec![7; 100_000]).unwrap();
        let one = of(dir.path());
        assert!(one >= empty + 100_000, "{one} after {empty}");
        fs::hard_link(dir.path().join("d/a"), dir.path().join("d/b")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("d/c")).unwrap();
        assert!(of(dir.path()) < one + 100_000);
    }

    #[test]
    fn what_is_used_is_not_claimed() {
        let dir = tempfile::tempdir().unwrap();
        let runs = File::open(dir.path()).unwrap();
        flock(&runs, FlockOperation::LockShared).unwrap();
        assert_eq!(claim(dir.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(runs);
        claim(dir.path()).unwrap();
    }
}
