//! Which base image of the cache is meant: by name, by digest, or by the first
//! digits of one.

use super::cache::Base;
use super::catalog::Catalog;
use super::error::ImageError;
use super::source::Source;

/// Fewer digits may mean anything.
const DIGITS_MIN: usize = 4;

/// The base that `text` means, and the name of it when it is meant by name.
pub fn pick<'b>(
    bases: &'b [Base],
    text: &str,
    catalog: &Catalog,
) -> Result<(&'b Base, Option<String>), ImageError> {
    // `debian` is in the cache as `debian:13`, a path as an absolute one.
    let full = Source::parse(text, None, catalog).map(|source| source.spelling()).ok();
    for name in [Some(text.to_owned()), full].into_iter().flatten() {
        let named = bases.iter().filter(|base| base.names().contains(&&*name));
        if let Some(base) = only(named, text)? {
            return Ok((base, Some(name)));
        }
    }
    let digits = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
    let is_digest = digits.len() >= DIGITS_MIN && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let matching = bases.iter().filter(|base| is_digest && base.sha256.starts_with(&digits));
    let found = only(matching, text)?;
    found.map(|base| (base, None)).ok_or_else(|| ImageError::NotInCache(text.to_owned()))
}

fn only<'b>(
    found: impl Iterator<Item = &'b Base>,
    text: &str,
) -> Result<Option<&'b Base>, ImageError> {
    let found: Vec<&Base> = found.collect();
    if found.len() < 2 {
        return Ok(found.first().copied());
    }
    let digests = found.iter().map(|base| base.short().to_owned()).collect();
    Err(ImageError::Ambiguous { text: text.to_owned(), digests })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::cache::Remembered;
    use crate::machine::config::DiskFormat;
    use crate::machine::verified::Verified;

    fn base(digit: &str, source: &str) -> Base {
        let sha256 = digit.repeat(64 / digit.len());
        let origin = Remembered {
            source: source.to_owned(),
            source_sha256: String::new(),
            sha256: sha256.clone(),
            format: DiskFormat::Raw,
            virtual_size: 0,
            length: 0,
            stream: None,
            release: None,
            arch: None,
            verified: Verified::default(),
        };
        Base {
            sha256,
            format: DiskFormat::Raw,
            path: "x".into(),
            length: 0,
            allocated: 0,
            created: None,
            origins: vec![origin],
        }
    }

    #[test]
    fn names_come_before_digests_and_nothing_is_guessed() {
        let bases = [base("ab", "debian:13"), base("abac", "/x.qcow2"), base("c", "abab")];
        let pick =
            |text: &str| pick(&bases, text, Catalog::embedded()).map(|(b, n)| (b.short(), n));
        for text in ["debian:13", "debian", "debian:trixie"] {
            assert_eq!(pick(text).unwrap(), ("abababababab", Some("debian:13".to_owned())));
        }
        assert_eq!(pick("/x.qcow2").unwrap().0, "abacabacabac");
        assert_eq!(pick("sha256:ABAC").unwrap(), ("abacabacabac", None));
        assert_eq!(pick("abab").unwrap().0, "cccccccccccc");
        assert_eq!(pick("ababa").unwrap(), ("abababababab", None));
        for text in ["aba", "ubuntu", "abad", ""] {
            assert!(matches!(pick(text), Err(ImageError::NotInCache(_))), "{text}");
        }
        let twice = [base("ab", "debian:13"), base("cd", "debian:13")];
        let error = super::pick(&twice, "debian", Catalog::embedded()).unwrap_err();
        assert!(error.to_string().contains("abababababab, cdcdcdcdcdcd"), "{error}");
    }
}
