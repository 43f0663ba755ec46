//! From a machine to this host.

use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context as _, anyhow};

use super::{Guest, unpack};
use crate::app::Refusal;
use crate::machine::event::{Event, Progress};

/// One entry, and below it all that is in it. A link that was named is
/// followed.
const PACK: &str = r#"[ -e "$t" ] || { echo "$t: no such file or directory" >&2; exit 1; }
t=$(readlink -f -- "$t") && cd -- "$(dirname -- "$t")" && exec tar -cf - -- "./$(basename -- "$t")""#;

/// Bytes between two events.
const STRIDE: u64 = 1 << 20;

/// More than follows the last entry of a tar (tar(1): records of 10 KiB).
const PADDING: u64 = 64 << 10;

pub fn download(
    guest: &Guest,
    from: &str,
    to: &Path,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let parent = if to.is_dir() { to } else { parent(to)? };
    let stage = tempfile::Builder::new()
        .prefix(".nsvm-cp-")
        .tempdir_in(parent)
        .with_context(|| format!("writing to \"{}\"", parent.display()))?;
    let (reader, writer) = io::pipe()?;
    let unpacked = std::thread::scope(|scope| {
        let packing =
            scope.spawn(|| guest.script(PACK, &[from], Box::new(io::empty()), Box::new(writer)));
        let what = format!("receiving {from}");
        let mut watched = Watched { reader, what, done: 0, progress };
        let unpacked = unpack::unpack(&mut watched, stage.path());
        let whole = unpacked.is_ok() || ends_soon(&mut watched);
        // A guest that sends more than anybody takes is told so.
        drop(watched);
        let packed = packing.join().map_err(|_| anyhow!("receiving it panicked"))?;
        // A guest that fails sends half a tar: its own words say more. What fails
        // here amid a tar is the reason for what the guest says then.
        if whole { packed.and(unpacked) } else { unpacked }
    })?;
    let name = last_name(from).unwrap_or(unpacked.file_name().unwrap_or_default());
    let target = if to.is_dir() { to.join(name) } else { to.to_owned() };
    unpack::place(&unpacked, &target).with_context(|| format!("writing \"{}\"", target.display()))
}

/// Whether all of a tar was read, but for what pads it.
fn ends_soon(reader: &mut impl Read) -> bool {
    let mut rest = reader.take(PADDING + 1);
    io::copy(&mut rest, &mut io::sink()).is_ok_and(|count| count <= PADDING)
}

fn parent(path: &Path) -> Result<&Path, Refusal> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    };
    if parent.is_dir() {
        return Ok(parent);
    }
    Err(Refusal::new(format!("there is no directory \"{}\"", parent.display()))
        .hint("Make it first, or copy to another place"))
}

/// The name as it was typed, if it is one.
fn last_name(path: &str) -> Option<&std::ffi::OsStr> {
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    (!matches!(name, "" | "." | ".." | "~")).then(|| name.as_ref())
}

struct Watched<'a, R> {
    reader: R,
    what: String,
    done: u64,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let before = self.done / STRIDE;
        self.done += count as u64;
        if self.done / STRIDE > before {
            let (what, done) = (self.what.clone(), self.done);
            self.progress.event(&Event::Bytes { what, done, total: None });
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_is_one() {
        assert_eq!(last_name("a/b/"), Some("b".as_ref()));
        for none in ["", ".", "/", "~", "a/.."] {
            assert_eq!(last_name(none), None, "{none}");
        }
    }

    #[test]
    fn what_pads_a_tar_is_no_more_of_it() {
        let zeros = |length: u64| io::repeat(0).take(length);
        assert!(ends_soon(&mut zeros(0)) && ends_soon(&mut zeros(PADDING)));
        assert!(!ends_soon(&mut zeros(PADDING + 1)));
    }

    #[test]
    fn a_missing_directory_is_named() {
        assert_eq!(parent(Path::new("x")).unwrap(), Path::new("."));
        assert!(parent(Path::new("/no/such/x")).unwrap_err().message.contains("\"/no/such\""));
    }
}
