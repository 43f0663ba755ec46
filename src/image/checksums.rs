//! Lists of checksums as publishers write them, pure.
//!
//! ```text
//! DIGEST  FILE            coreutils: SHA256SUMS, SHA512SUMS
//! SHA256 (FILE) = DIGEST  BSD, as Fedora and Rocky write their CHECKSUM
//! DIGEST                  alone in a file beside the one it is about
//! ```
//!
//! A digest tells by its length which one it is. Lines of an OpenPGP cleartext
//! signature around them, comments, and weaker digests are passed over.

use super::ingest::{Expected, last_part};

/// A digest of a published file, lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Published {
    Sha256(String),
    Sha512(String),
}

/// Why a list is of no use.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChecksumError {
    #[error("it has no SHA-256 or SHA-512 of \"{0}\"")]
    Missing(String),
    #[error("it has two different digests of \"{0}\"")]
    Contradiction(String),
    #[error("its address is neither https nor on this host: \"{0}\"")]
    Unprotected(String),
}

impl ChecksumError {
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing(_) => {
                "Open it in a browser: the publisher may have moved the image, or a network's login \
                 page may answer in its place"
            }
            Self::Contradiction(_) => "Use another version, or --image URL with --sha256",
            Self::Unprotected(_) => "Give `checksums` of that catalog entry an https address",
        }
    }
}

impl Published {
    /// By the number of hexadecimal digits; `None` for anything else.
    pub fn new(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|b| b.is_ascii_hexdigit());
        match text.len() {
            64 if digits => Some(Self::Sha256(text.to_ascii_lowercase())),
            128 if digits => Some(Self::Sha512(text.to_ascii_lowercase())),
            _ => None,
        }
    }

    /// What a download must turn out to be.
    pub fn expected(&self) -> Expected<'_> {
        match self {
            Self::Sha256(digest) => Expected { source_sha256: Some(digest), ..Expected::default() },
            Self::Sha512(digest) => Expected { source_sha512: Some(digest), ..Expected::default() },
        }
    }
}

/// The digest of the file at `url` in the list that came from `list_url`. A
/// list whose address is that of the image and a suffix is about nothing else,
/// and may leave the name out or give the one that the address is a link to.
pub fn find(list: &str, list_url: &str, url: &str) -> Result<Published, ChecksumError> {
    let name = last_part(url);
    let lines: Vec<(Published, Option<&str>)> = list.lines().filter_map(line).collect();
    let named = lines.iter().filter(|(_, file)| *file == Some(name)).map(|(digest, _)| digest);
    let mut found: Vec<&Published> = named.collect();
    let is_beside = list_url.strip_prefix(url).is_some_and(|suffix| suffix.starts_with('.'));
    if found.is_empty() && is_beside {
        found = lines.iter().map(|(digest, _)| digest).collect();
    }
    // The longer digest is the larger variant: one of each kind is no conflict.
    found.sort_unstable();
    found.dedup();
    let is_sha512 = |digest: &&&Published| matches!(digest, Published::Sha512(_));
    let longer = found.iter().filter(is_sha512).count();
    match found.last() {
        None => Err(ChecksumError::Missing(name.to_owned())),
        Some(_) if longer > 1 || found.len() - longer > 1 => {
            Err(ChecksumError::Contradiction(name.to_owned()))
        }
        Some(digest) => Ok((*digest).clone()),
    }
}

/// Digest and file of one line.
fn line(line: &str) -> Option<(Published, Option<&str>)> {
    let line = line.trim();
    if let Some((tag, rest)) = line.split_once(" (") {
        let (file, digest) = rest.rsplit_once(") = ")?;
        let digest = Published::new(digest.trim())?;
        // SHA3-256 has as many digits.
        let fits = match digest {
            Published::Sha256(_) => tag == "SHA256",
            Published::Sha512(_) => tag == "SHA512",
        };
        return fits.then_some((digest, Some(last_part(file))));
    }
    match line.split_once(char::is_whitespace) {
        // A star means "read in binary mode".
        Some((digest, file)) => {
            let file = file.trim_start();
            Some((Published::new(digest)?, Some(last_part(file.strip_prefix('*').unwrap_or(file)))))
        }
        None => Some((Published::new(line)?, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "https://h/d/SUMS";
    const URL: &str = "https://h/d/disk-13.qcow2";

    fn digits(digit: &str, length: usize) -> String {
        digit.repeat(length)
    }

    fn sha256(digit: &str) -> Published {
        Published::Sha256(digits(digit, 64))
    }

    #[test]
    fn coreutils_lists_in_text_and_binary_mode() {
        let (a, b, c) = (digits("a", 128), digits("b", 128), digits("c", 64));
        let list = format!("{a}  disk-13.raw\n{b}  disk-13.qcow2\n{c} *other.img\r\n");
        assert_eq!(find(&list, LIST, URL), Ok(Published::Sha512(b)));
        assert_eq!(find(&list, LIST, "https://h/d/other.img?x=1"), Ok(Published::Sha256(c)));
        let list = format!("{a}  ./disk-13.qcow2");
        assert_eq!(find(&list, LIST, URL), Ok(Published::Sha512(a)));
    }

    #[test]
    fn signed_bsd_lists_with_comments() {
        let list = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# disk-13.qcow2: 42 bytes\n\
             MD5 (disk-13.qcow2) = {}\nSHA256 (disk-13.qcow2) = {}\n\
             -----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCAAdFiEE\n=x8/q\n-----END PGP SIGNATURE-----\n",
            digits("1", 32),
            digits("A", 64),
        );
        assert_eq!(find(&list, LIST, URL), Ok(sha256("a")));
    }

    #[test]
    fn a_file_beside_the_image_may_name_the_linked_file_or_none() {
        let beside = format!("{URL}.sha256");
        for list in [digits("a", 64), format!("{}  disk-13-Build16.44.qcow2\n", digits("a", 64))] {
            assert_eq!(find(&list, &beside, URL), Ok(sha256("a")));
            let missing = Err(ChecksumError::Missing("disk-13.qcow2".to_owned()));
            assert_eq!(find(&list, LIST, URL), missing);
        }
    }

    #[test]
    fn nothing_else_counts() {
        let short = digits("a", 63);
        let sha3 = format!("SHA3-256 (disk-13.qcow2) = {}", digits("a", 64));
        for list in ["", "<html>", "404", &format!("{short}  disk-13.qcow2"), &sha3] {
            assert!(matches!(find(list, LIST, URL), Err(ChecksumError::Missing(_))), "{list}");
        }
        let longer = format!("{}  disk-13.qcow2.sig", digits("a", 64));
        assert!(find(&longer, LIST, URL).is_err());
    }

    #[test]
    fn the_stronger_digest_wins_and_a_contradiction_is_refused() {
        let one = format!("{}  disk-13.qcow2\n", digits("a", 64));
        let two = format!("{}  disk-13.qcow2\n", digits("b", 64));
        let long = format!("{}  disk-13.qcow2\n", digits("c", 128));
        assert_eq!(find(&(one.clone() + &one), LIST, URL), Ok(sha256("a")));
        let both = find(&(one.clone() + &long), LIST, URL);
        assert_eq!(both, Ok(Published::Sha512(digits("c", 128))));
        assert!(matches!(find(&(one + &two), LIST, URL), Err(ChecksumError::Contradiction(_))));
    }
}
