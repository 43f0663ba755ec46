//! A directory of this host as a tar: the same bytes each time, so that an
//! unchanged one is known again.

use std::fs::{self, DirEntry, File, Metadata};
use std::io::{self, Read, Write};
use std::path::Path;

use tar::{Builder, Header, HeaderMode};

/// Writes the tar of what is below `dir`, in the order of names. What belongs
/// to whom the directory belongs is root's in it. Devices, sockets and the like
/// are left out.
pub fn write(dir: &Path, to: &mut dyn Write) -> io::Result<()> {
    let owner = ids(&fs::metadata(dir)?);
    let mut tar = Tar { builder: Builder::new(to), owner };
    tar.directory(dir, Path::new(""))?;
    tar.builder.finish()
}

/// Writes the tar of a file, or of a directory and what is below it, under
/// another name.
pub fn write_as(path: &Path, name: &Path, to: &mut dyn Write) -> io::Result<()> {
    let owner = ids(&fs::metadata(path)?);
    let mut tar = Tar { builder: Builder::new(to), owner };
    tar.entry(path, name).map_err(|e| named(&e, path))?;
    tar.builder.finish()
}

fn ids(metadata: &Metadata) -> (u64, u64) {
    let mut header = Header::new_gnu();
    header.set_metadata_in_mode(metadata, HeaderMode::Complete);
    (header.uid().unwrap_or(0), header.gid().unwrap_or(0))
}

struct Tar<'a> {
    builder: Builder<&'a mut dyn Write>,
    /// User and group of the directory.
    owner: (u64, u64),
}

impl Tar<'_> {
    fn directory(&mut self, dir: &Path, name: &Path) -> io::Result<()> {
        let mut entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), name.join(entry.file_name()));
            self.entry(&path, &name).map_err(|e| named(&e, &path))?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &Path) -> io::Result<()> {
        let metadata = fs::symlink_metadata(path)?;
        let mut header = self.header(&metadata);
        if metadata.is_dir() {
            self.builder.append_data(&mut header, name, io::empty())?;
            self.directory(path, name)
        } else if metadata.is_symlink() {
            self.builder.append_link(&mut header, name, fs::read_link(path)?)
        } else if metadata.is_file() {
            // One that grows meanwhile would not fit its header.
            let content = File::open(path)?.take(metadata.len());
            self.builder.append_data(&mut header, name, content)
        } else {
            Ok(())
        }
    }

    fn header(&self, metadata: &Metadata) -> Header {
        let mut header = Header::new_gnu();
        header.set_metadata_in_mode(metadata, HeaderMode::Complete);
        let (uid, gid) = ids(metadata);
        if uid == self.owner.0 {
            header.set_uid(0);
        }
        if gid == self.owner.1 {
            header.set_gid(0);
        }
        header
    }
}

fn named(error: &io::Error, path: &Path) -> io::Error {
    let text = error.to_string();
    // Directories within directories: the innermost name says it.
    if text.contains('"') {
        return io::Error::new(error.kind(), text);
    }
    io::Error::new(error.kind(), format!("\"{}\": {text}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_the_same_tar_each_time() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "a/c", "a/b"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let tar = || {
            let mut bytes = Vec::new();
            write(dir.path(), &mut bytes).unwrap();
            bytes
        };
        let first = tar();
        assert_eq!(first, tar());
        let mut archive = tar::Archive::new(&first[..]);
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                assert_eq!(entry.header().uid().unwrap(), 0);
                entry.path().unwrap().to_string_lossy().into_owned()
            })
            .collect();
        assert_eq!(
            names.iter().map(|n| n.trim_end_matches('/')).collect::<Vec<_>>(),
            ["a", "a/b", "a/c", "b"]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let error = write(Path::new("/nonexistent"), &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
