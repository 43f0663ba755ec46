//! Decompression: chosen by what the bytes are, checked against what the name
//! says.

use std::io::{self, Read};

use super::error::ImageError;
use super::peek::Peek;
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

/// What comes out, and what it was in.
pub struct Decoded<'a> {
    pub reader: Box<dyn Read + Send + 'a>,
    pub compression: Option<Compression>,
}

/// Decodes `from`, which is called `what` and is said to be `claimed`.
pub fn open<'a>(
    what: &str,
    claimed: Option<Compression>,
    from: impl Read + Send + 'a,
) -> Result<Decoded<'a>, io::Error> {
    let mut whole = Peek::new(from);
    let start = whole.peek(PEEK)?;
    let compression = Compression::of(start);
    refuse(what, claimed, compression, start)?;
    let reader: Box<dyn Read + Send + 'a> = match compression {
        None => Box::new(whole),
        Some(Compression::Xz) => Box::new(Xz::new(whole)?),
        Some(Compression::Zstd) => Box::new(zstd::Decoder::with_buffer(whole)?),
        Some(Compression::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
    };
    Ok(Decoded { reader, compression })
}

fn refuse(
    what: &str,
    claimed: Option<Compression>,
    found: Option<Compression>,
    start: &[u8],
) -> Result<(), ImageError> {
    let reason = match (claimed, found) {
        _ if looks_like_html(start) => {
            let hint = "Open the URL in a browser: the network may ask for a login first";
            let (what, reason) = (what.to_owned(), "it is a web page".to_owned());
            return Err(ImageError::Format { what, reason, hint: Some(hint.to_owned()) });
        }
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    fn text() -> Vec<u8> {
        (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
    }

    fn decode(claimed: Option<Compression>, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        open("disk", claimed, bytes)?.reader.read_to_end(&mut out)?;
        Ok(out)
    }

    type Encoder = fn(&[u8]) -> Vec<u8>;
    const ALL: [(Compression, Encoder); 3] =
        [(Compression::Xz, xz), (Compression::Zstd, zstd), (Compression::Gzip, gzip)];

    #[test]
    fn every_format_comes_back_whatever_the_name_says_or_leaves_out() {
        assert_eq!(decode(None, &text()).unwrap(), text());
        assert_eq!(decode(None, b"").unwrap(), b"");
        for (kind, encode) in ALL {
            for claimed in [None, Some(kind)] {
                assert_eq!(decode(claimed, &encode(&text())).unwrap(), text(), "{kind:?}");
            }
        }
    }

    #[test]
    fn several_streams_in_a_row_are_one_file() {
        for (kind, encode) in ALL {
            let (mut twice, whole) = (encode(b"one "), b"one two".to_vec());
            if kind == Compression::Xz {
                twice.extend([0; 8]);
            }
            twice.extend(encode(b"two"));
            assert_eq!(decode(None, &twice).unwrap(), whole, "{kind:?}");
        }
    }

    #[test]
    fn a_cut_or_changed_file_is_an_error() {
        for (kind, encode) in ALL {
            let good = encode(&text());
            for length in [7, good.len() / 2, good.len() - 1] {
                let error = decode(Some(kind), &good[..length]).unwrap_err();
                assert!(error.downcast::<ImageError>().is_err(), "{kind:?} {length}");
            }
            // The middle is not the check value of a frame that has none.
            if kind != Compression::Zstd {
                let mut flipped = good.clone();
                flipped[good.len() / 2] ^= 0x10;
                decode(Some(kind), &flipped).unwrap_err();
            }
        }
    }

    #[test]
    fn a_name_that_lies_is_refused() {
        for bytes in [&b"QFI\xfb"[..], b"", &gzip(b"x")] {
            let error = decode(Some(Compression::Xz), bytes).unwrap_err();
            assert_eq!(
                error.to_string(),
                "\"disk\" is not a disk image that can be used: its name says xz, its content does not"
            );
        }
    }

    #[test]
    fn a_web_page_is_no_image() {
        for page in ["<!DOCTYPE html><html>", "\r\n <html lang=en>"] {
            let error = decode(None, page.as_bytes()).unwrap_err();
            assert!(error.to_string().ends_with("it is a web page"), "{error}");
        }
    }

    #[test]
    fn names_claim_by_their_suffix() {
        assert_eq!(Compression::claimed("a.qcow2.xz"), Some(Compression::Xz));
        assert_eq!(Compression::claimed("a.raw.ZST"), Some(Compression::Zstd));
        assert_eq!(Compression::claimed("a.img.gz"), Some(Compression::Gzip));
        assert_eq!(Compression::claimed("a.qcow2"), None);
    }
}
