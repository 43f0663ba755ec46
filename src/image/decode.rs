//! Decompression: chosen by what the bytes are, checked against what the name
//! says.

use std::io::{self, BufReader, Cursor, Read};

use super::error::ImageError;
use super::sparse::fill;
use super::xz::Xz;

/// Enough for every magic number here.
const PEEK: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Xz,
    Zstd,
    Gzip,
}

impl Compression {
    /// What a file name or the last part of a URL claims.
    pub fn claimed(name: &str) -> Option<Self> {
        let (_, suffix) = name.rsplit_once('.')?;
        match suffix.to_ascii_lowercase().as_str() {
            "xz" => Some(Self::Xz),
            "zst" | "zstd" => Some(Self::Zstd),
            "gz" => Some(Self::Gzip),
            _ => None,
        }
    }

    fn of(start: &[u8]) -> Option<Self> {
        const MAGICS: [(Compression, &[u8]); 3] = [
            (Compression::Xz, b"\xfd7zXZ\0"),
            (Compression::Zstd, b"\x28\xb5\x2f\xfd"),
            (Compression::Gzip, b"\x1f\x8b\x08"),
        ];
        MAGICS.iter().find(|(_, magic)| start.starts_with(magic)).map(|&(kind, _)| kind)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// Decodes `from`, which is called `what` and is said to be `claimed`.
pub fn open<'a>(
    what: &str,
    claimed: Option<Compression>,
    mut from: impl Read + 'a,
) -> Result<Box<dyn Read + 'a>, io::Error> {
    let mut start = vec![0; PEEK];
    let n = fill(&mut from, &mut start)?;
    start.truncate(n);
    let found = Compression::of(&start);
    refuse(what, claimed, found, &start)?;
    let whole = BufReader::with_capacity(64 * 1024, Cursor::new(start).chain(from));
    Ok(match found {
        None => Box::new(whole),
        Some(Compression::Xz) => Box::new(Xz::new(whole)?),
        Some(Compression::Zstd) => Box::new(zstd::Decoder::with_buffer(whole)?),
        Some(Compression::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
    })
}

fn refuse(
    what: &str,
    claimed: Option<Compression>,
    found: Option<Compression>,
    start: &[u8],
) -> Result<(), ImageError> {
    let reason = match (claimed, found) {
        _ if looks_like_html(start) => "it is a web page".to_owned(),
        (Some(claimed), found) if found != Some(claimed) => {
            format!("its name says {}, its content does not", claimed.name())
        }
        _ => return Ok(()),
    };
    Err(ImageError::Format { what: what.to_owned(), reason, hint: None })
}

fn looks_like_html(start: &[u8]) -> bool {
    let text = start.trim_ascii_start().to_ascii_lowercase();
    [&b"<!doctype"[..], b"<html"].iter().any(|tag| text.starts_with(tag))
}
