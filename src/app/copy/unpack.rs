//! A guest's tar becomes files of this host. It is a stranger's: it goes into
//! a new directory, out of which no path and no link in it leads, and from
//! there to its place.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use tar::{Archive, Entry, EntryType};

/// Bits that make a program run as somebody else are not taken from a guest.
const SPECIAL_BITS: u32 = 0o7000;

/// Unpacks a tar with one thing at its top into the empty directory `into`;
/// where that is now.
pub fn unpack(tar: impl Read, into: &Path) -> anyhow::Result<PathBuf> {
    let mut archive = Archive::new(tar);
    archive.set_mask(SPECIAL_BITS);
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    let mut top: Option<PathBuf> = None;
    // Those that may not be written into come last, and inner ones first.
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry.context("reading what the machine sends")?;
        let (first, path) = safe_path(&entry)?;
        if top.get_or_insert_with(|| first.clone()) != &first {
            bail!("the machine sends something else too: \"{}\"", shown(&path));
        }
        match entry.header().entry_type() {
            EntryType::Directory => directories.push((path, entry)),
            EntryType::Regular | EntryType::Symlink | EntryType::Link => {
                unpack_one(&mut entry, &path, into)?;
            }
            // Devices and the like mean nothing here.
            _ => {}
        }
    }
    directories.sort_by(|(one, _), (other, _)| other.cmp(one));
    for (path, mut entry) in directories {
        unpack_one(&mut entry, &path, into)?;
        let written = entry.header().mtime().unwrap_or(0);
        let written = UNIX_EPOCH.checked_add(Duration::from_secs(written)).unwrap_or(UNIX_EPOCH);
        // Windows opens no directories: there it has today's.
        let _ = File::open(into.join(&path)).and_then(|dir| dir.set_modified(written));
    }
    let top = top.map(|top| into.join(top)).filter(|top| top.symlink_metadata().is_ok());
    top.context("it is neither a file nor a directory")
}

fn unpack_one<R: Read>(entry: &mut Entry<'_, R>, path: &Path, into: &Path) -> anyhow::Result<()> {
    let unpacked =
        entry.unpack_in(into).with_context(|| format!("unpacking \"{}\"", shown(path)))?;
    if !unpacked {
        bail!("the machine sends a path that leads elsewhere: \"{}\"", shown(path));
    }
    Ok(())
}

/// A stranger's name for a terminal, which obeys control characters.
fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}

/// The first name of the path, and all of it.
fn safe_path<R: Read>(entry: &Entry<'_, R>) -> anyhow::Result<(PathBuf, PathBuf)> {
    let path = entry.path()?.into_owned();
    let mut first = None;
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => drop(first.get_or_insert_with(|| PathBuf::from(name))),
            _ => bail!("the machine sends a path that leads elsewhere: \"{}\"", shown(&path)),
        }
    }
    match first {
        Some(first) => Ok((first, path)),
        None => bail!("the machine sends something without a name"),
    }
}

/// Moves it to `target`, on the same file system; a directory is merged with
/// one that is there. A link is followed only where it was named: one further
/// down may have come with an earlier copy, and lead anywhere.
pub fn place(from: &Path, target: &Path) -> io::Result<()> {
    let there = fs::metadata(target).ok();
    put(from, target, there.is_some_and(|there| there.is_dir()))
}

fn put(from: &Path, target: &Path, joins_directory: bool) -> io::Result<()> {
    let not_placed =
        |kind, why: &str| Err(io::Error::new(kind, format!("\"{}\" {why}", shown(target))));
    match (fs::symlink_metadata(from)?.is_dir(), joins_directory) {
        (true, true) => {
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                let inner = target.join(entry.file_name());
                let there = fs::symlink_metadata(&inner).ok();
                put(&entry.path(), &inner, there.is_some_and(|there| there.is_dir()))?;
            }
            Ok(())
        }
        (false, true) => not_placed(io::ErrorKind::IsADirectory, "is a directory"),
        (true, false) if target.symlink_metadata().is_ok() => {
            not_placed(io::ErrorKind::NotADirectory, "is there and no directory")
        }
        _ => fs::rename(from, target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar_of(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            header.set_mtime(1_000_000_000);
            // As a stranger writes it: the builder would refuse such names.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            if *kind == EntryType::Symlink {
                header.set_link_name_literal(content).unwrap();
                header.set_size(0);
                header.set_cksum();
                builder.append(&header, io::empty()).unwrap();
            } else {
                header.set_size(content.len() as u64);
                header.set_cksum();
                builder.append(&header, content.as_bytes()).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    const FILE: EntryType = EntryType::Regular;
    const DIR: EntryType = EntryType::Directory;

    #[test]
    fn files_and_links_come_out_with_mode_and_time() {
        let dir = tempfile::tempdir().unwrap();
        // Windows lets only administrators and developers make links.
        let link = ("./d/l", EntryType::Symlink, "/etc/passwd");
        let links = if cfg!(unix) { &[link][..] } else { &[] };
        let tar = tar_of(&[&[("./d/", DIR, ""), ("./d/f", FILE, "text")], links].concat());
        let top = unpack(&tar[..], dir.path()).unwrap();
        assert_eq!(top, dir.path().join("d"));
        assert_eq!(fs::read(top.join("f")).unwrap(), b"text");
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            assert_eq!(fs::read_link(top.join("l")).unwrap(), Path::new("/etc/passwd"));
            let found = fs::metadata(top.join("f")).unwrap();
            assert_eq!((found.mode() & 0o7777, found.mtime()), (0o755, 1_000_000_000));
            assert_eq!(fs::metadata(&top).unwrap().mtime(), 1_000_000_000);
        }
    }

    #[test]
    fn nothing_leads_out_of_the_directory() {
        for entries in [
            &[("../x", FILE, "")][..],
            &[("/etc/x", FILE, "")],
            &[("d/../../x", FILE, "")],
            &[("d/l", EntryType::Symlink, "/tmp"), ("d/l/x", FILE, "")],
            &[("a", FILE, ""), ("b", FILE, "")],
        ] {
            let outer = tempfile::tempdir().unwrap();
            let inner = outer.path().join("in");
            fs::create_dir(&inner).unwrap();
            assert!(unpack(&tar_of(entries)[..], &inner).is_err(), "{entries:?}");
            assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1, "{entries:?}");
        }
    }

    #[test]
    fn a_directory_joins_one_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (new, old) = (dir.path().join("new"), dir.path().join("old"));
        fs::create_dir_all(new.join("sub")).unwrap();
        fs::create_dir_all(old.join("sub")).unwrap();
        fs::write(new.join("sub/a"), "new").unwrap();
        fs::write(old.join("sub/a"), "old").unwrap();
        fs::write(old.join("sub/b"), "kept").unwrap();
        place(&new, &old).unwrap();
        assert_eq!(fs::read(old.join("sub/a")).unwrap(), b"new");
        assert_eq!(fs::read(old.join("sub/b")).unwrap(), b"kept");
        assert!(place(&old.join("sub/b"), &old).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_of_an_earlier_copy_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (new, old, secret) =
            (dir.path().join("new"), dir.path().join("old"), dir.path().join("secret"));
        for made in [&new.join("sub"), &old, &secret] {
            fs::create_dir_all(made).unwrap();
        }
        fs::write(new.join("sub/key"), "theirs").unwrap();
        std::os::unix::fs::symlink(&secret, old.join("sub")).unwrap();
        let refused = place(&new, &old).unwrap_err().to_string();
        assert!(refused.contains("sub") && refused.contains("no directory"), "{refused}");
        assert_eq!(fs::read_dir(&secret).unwrap().count(), 0);
        // One that was named is where it leads.
        let named = dir.path().join("named");
        std::os::unix::fs::symlink(&secret, &named).unwrap();
        place(&new, &named).unwrap();
        assert_eq!(fs::read(secret.join("sub/key")).unwrap(), b"theirs");
    }
}
