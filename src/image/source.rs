//! What `--image` means: a name of the catalog, a path, or a URL.

use std::path::{Path, PathBuf};

use url::Url;

use super::catalog::{Catalog, Entry};
use super::error::ImageError;
use super::release::is_release;
use crate::host;

/// Of disk artifacts in registries, as podman writes it.
const SCHEME: &str = "docker://";

/// A source that has been understood; nothing was touched yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Source<'a> {
    /// `/dev/null`: a disk without sectors, which cannot boot.
    Empty,
    Named {
        entry: &'a Entry,
        /// The stream or version as the catalog spells it.
        stream: Option<String>,
        /// `@RELEASE`: a name that is safe in a URL.
        release: Option<String>,
    },
    /// Absolute. The digest is lower-case hex.
    Path {
        path: PathBuf,
        sha256: Option<String>,
    },
    /// What follows `docker://`.
    Registry {
        reference: String,
    },
    Url {
        url: Url,
        sha256: String,
    },
}

impl<'a> Source<'a> {
    /// Understands `--image` and `--sha256`. A text without a path separator
    /// is a name of the catalog first and a file second.
    pub fn parse(
        text: &str,
        sha256: Option<&str>,
        catalog: &'a Catalog,
    ) -> Result<Self, ImageError> {
        let sha256 = sha256.map(digest).transpose()?;
        if let Some(reference) = text.strip_prefix(SCHEME) {
            return match sha256 {
                Some(_) => Err(ImageError::DigestUnused(text.to_owned())),
                None => Ok(Source::Registry { reference: reference.to_owned() }),
            };
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return from_url(text, scheme, sha256);
        }
        let has_separator = text.contains(std::path::is_separator);
        let (rest, release) = cut(text, '@');
        let (name, stream) = cut(rest, ':');
        match catalog.find(name).filter(|_| !has_separator) {
            Some(_) if sha256.is_some() => Err(ImageError::DigestUnused(text.to_owned())),
            Some(entry) => named(entry, stream, release),
            None if has_separator || Path::new(text).exists() => from_path(text.into(), sha256),
            None => Err(unknown(text, catalog)),
        }
    }

    /// The source in full, for the machine config: it means the same anywhere.
    pub fn spelling(&self) -> String {
        match self {
            Self::Empty => "/dev/null".to_owned(),
            Self::Named { entry, stream, release } => {
                let release = release.as_ref().map(|release| format!("@{release}"));
                let stream = stream.as_deref().or_else(|| entry.default_stream());
                let stream = stream.map(|stream| format!(":{stream}"));
                format!(
                    "{}{}{}",
                    entry.name,
                    stream.unwrap_or_default(),
                    release.unwrap_or_default()
                )
            }
            Self::Path { path, .. } => path.display().to_string(),
            Self::Registry { reference } => format!("{SCHEME}{reference}"),
            Self::Url { url, .. } => url.to_string(),
        }
    }
}

/// What comes before and after the first `mark`.
fn cut(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// A release's name, of an image that has releases.
fn release(entry: &Entry, text: &str) -> Result<String, ImageError> {
    if !entry.has_releases() {
        return Err(ImageError::NoReleases(entry.name.clone()));
    }
    is_release(text).then(|| text.to_owned()).ok_or_else(|| ImageError::BadRelease(text.to_owned()))
}

fn named<'a>(
    entry: &'a Entry,
    stream: Option<&str>,
    named_release: Option<&str>,
) -> Result<Source<'a>, ImageError> {
    let release = named_release.map(|text| release(entry, text)).transpose()?;
    let Some(text) = stream else { return Ok(Source::Named { entry, stream: None, release }) };
    if let Some(known) = entry.stream(text) {
        return Ok(Source::Named { entry, stream: Some(known.to_owned()), release });
    }
    let streams = entry.streams();
    Err(ImageError::UnknownStream {
        image: entry.name.clone(),
        stream: text.to_owned(),
        known: if streams.is_empty() { "none".to_owned() } else { streams.join(", ") },
    })
}

fn from_path<'a>(path: PathBuf, sha256: Option<String>) -> Result<Source<'a>, ImageError> {
    if path == Path::new("/dev/null") {
        return Ok(Source::Empty);
    }
    let path = host::as_typed(path);
    let absolute = std::path::absolute(&path);
    let path = absolute.map_err(|source| ImageError::Read { path, source })?;
    Ok(Source::Path { path, sha256 })
}

fn from_url<'a>(
    text: &str,
    scheme: &str,
    sha256: Option<String>,
) -> Result<Source<'a>, ImageError> {
    let refused = |reason: String| ImageError::Url { url: text.to_owned(), reason };
    let url = Url::parse(text).map_err(|e| refused(e.to_string()))?;
    match (url.scheme(), sha256) {
        ("file", sha256) => {
            let path = url.to_file_path();
            from_path(path.map_err(|()| refused("it names no file of this host".into()))?, sha256)
        }
        ("http" | "https", Some(sha256)) => Ok(Source::Url { url, sha256 }),
        ("http" | "https", None) => Err(ImageError::NeedsDigest { url: text.to_owned() }),
        _ => Err(refused(format!("\"{scheme}\" is not one of https, http, file, docker"))),
    }
}

/// 64 hexadecimal digits, with or without `sha256:` before them.
pub fn digest(text: &str) -> Result<String, ImageError> {
    let digits = text.trim().strip_prefix("sha256:").unwrap_or(text.trim());
    if digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(digits.to_ascii_lowercase())
    } else {
        Err(ImageError::BadDigest(text.to_owned()))
    }
}

fn unknown(text: &str, catalog: &Catalog) -> ImageError {
    let name = text.split([':', '@']).next().unwrap_or(text);
    let names = catalog.images.iter().map(|entry| entry.name.as_str());
    ImageError::Unknown {
        name: text.to_owned(),
        known: catalog.names(),
        nearest: nearest(name, names).map(str::to_owned),
    }
}

/// The name that was probably meant: one that begins so, or a few typing
/// mistakes away.
fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let begins = |name: &&str| text.len() >= 3 && name.starts_with(text);
    names.clone().find(begins).or_else(|| {
        let (distance, name) = names.map(|name| (distance(text, name), name)).min()?;
        (distance <= name.len() / 4).then_some(name)
    })
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn parse(text: &str, sha256: Option<&str>) -> Result<Source<'static>, ImageError> {
        Source::parse(text, sha256, Catalog::embedded())
    }

    fn spelling(text: &str) -> String {
        parse(text, None).unwrap().spelling()
    }

    #[test]
    fn names_of_the_catalog_with_and_without_a_stream() {
        assert_eq!(spelling("fedora-coreos"), "fedora-coreos:stable");
        assert_eq!(spelling("fedora-coreos:next"), "fedora-coreos:next");
        assert_eq!(spelling("debian-local"), "debian-local");
        assert_eq!(spelling("debian"), "debian:13");
        assert_eq!(spelling("debian:bookworm"), "debian:12");
        assert_eq!(spelling("opensuse:leap"), "opensuse:16.0");
        let error = parse("fedora-coreos:rawhide", None).unwrap_err();
        assert!(error.to_string().ends_with("it has stable, testing, next"), "{error}");
        let error = parse("debian-local:stable", None).unwrap_err();
        assert!(error.to_string().ends_with("it has none"), "{error}");
    }

    #[test]
    fn a_release_follows_the_stream() {
        assert_eq!(spelling("fedora-coreos@44.2.3.1"), "fedora-coreos:stable@44.2.3.1");
        assert_eq!(spelling("fedora-coreos:next@44.2.1.0"), "fedora-coreos:next@44.2.1.0");
        for bad in ["fedora-coreos@", "fedora-coreos@1..2", "fedora-coreos:next@latest"] {
            let error = parse(bad, None).unwrap_err();
            assert!(matches!(error, ImageError::BadRelease(_)), "{bad}: {error}");
        }
        assert!(matches!(parse("debian-local@1", None), Err(ImageError::NoReleases(_))));
        assert!(Path::new(&spelling("./fedora-coreos@1")).ends_with("fedora-coreos@1"));
    }

    #[test]
    fn paths_have_a_separator_and_become_absolute() {
        let Source::Path { path, sha256: None } = parse("images/disk.qcow2", None).unwrap() else {
            panic!("not a path")
        };
        assert!(path.is_absolute() && path.ends_with("images/disk.qcow2"));
        if cfg!(unix) {
            assert_eq!(spelling("/a/debian-local"), "/a/debian-local");
            assert_eq!(spelling("file:///a/b%20c.qcow2"), "/a/b c.qcow2");
        } else {
            assert_eq!(spelling("/a/debian-local"), r"A:\debian-local");
            assert_eq!(spelling("file:///a:/b%20c.qcow2"), r"a:\b c.qcow2");
        }
        assert_eq!(spelling("~/disk.qcow2").matches('~').count(), 1);
        // A file of the current directory (the package's) needs no separator.
        assert!(Path::new(&spelling("Cargo.toml")).ends_with("Cargo.toml"));
    }

    #[test]
    fn dev_null_is_an_empty_disk() {
        assert_eq!(parse("/dev/null", None).unwrap(), Source::Empty);
    }

    #[test]
    fn a_url_needs_a_digest() {
        for url in ["https://example.org/disk.qcow2.xz", "http://example.org/disk.qcow2.xz"] {
            assert!(matches!(parse(url, None), Err(ImageError::NeedsDigest { .. })));
            assert_eq!(parse(url, Some(DIGEST)).unwrap().spelling(), url);
        }
        for url in ["ftp://example.org/disk", "http://"] {
            let refused = parse(url, Some(DIGEST));
            assert!(matches!(refused, Err(ImageError::Url { .. })), "{refused:?}");
        }
    }

    #[test]
    fn artifacts_of_registries_carry_their_digests() {
        assert_eq!(spelling("docker://quay.io/a/b:1"), "docker://quay.io/a/b:1");
        let digested = parse("docker://quay.io/a/b:1", Some(DIGEST));
        assert!(matches!(digested, Err(ImageError::DigestUnused(_))), "{digested:?}");
    }

    #[test]
    fn digests_are_64_hex_digits_in_any_case() {
        let upper = format!("sha256:{}", DIGEST.to_uppercase());
        let Source::Path { sha256, .. } = parse("./x", Some(&upper)).unwrap() else { panic!() };
        assert_eq!(sha256.as_deref(), Some(DIGEST));
        for bad in ["", "abc", &DIGEST[1..], &format!("{}g", &DIGEST[1..])] {
            assert!(matches!(parse("./x", Some(bad)), Err(ImageError::BadDigest(_))), "{bad}");
        }
        assert!(matches!(parse("debian-local", Some(DIGEST)), Err(ImageError::DigestUnused(_))));
    }

    #[test]
    fn an_unknown_name_lists_what_there_is_and_guesses() {
        let hint = |text: &str| parse(text, None).unwrap_err().hint().unwrap();
        assert_eq!(hint("fedora-core"), "Try --image fedora-coreos");
        assert_eq!(hint("debian_locl"), "Try --image debian-local");
        assert_eq!(hint("ubunt:24.04"), "Try --image ubuntu");
        assert!(hint("windows").contains("--image ./windows"));
        assert!(hint("windows").contains("`nsvm image search`"));
        let text = parse("windows", None).unwrap_err().to_string();
        assert!(
            text.starts_with("there is no image \"windows\": known are fedora-coreos, debian, ")
        );
        assert!(
            text.ends_with("debian-local-cloud, a path, a URL with --sha256, and docker://"),
            "{text}"
        );
    }
}
