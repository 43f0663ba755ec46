//! Is an entry of a catalog usable? Asked of the user's own entries when they
//! are read, and of the embedded ones by a test.

use std::collections::BTreeSet;

use url::Url;

use super::cloud::{CloudImage, fill};
use super::{Entry, Kind};
use crate::image::fetch;
use crate::machine::config::Arch;

/// An entry that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the image \"{image}\" of the config file {reason}")]
pub struct CatalogError {
    pub image: String,
    reason: String,
}

impl CatalogError {
    pub fn hint(&self) -> String {
        format!("Mend \"{}\" under [[image.catalog]] in the config file", self.image)
    }

    pub(super) fn taken(name: &str) -> Self {
        let reason = "has a name that is taken: it would hide another image".to_owned();
        Self { image: name.to_owned(), reason }
    }
}

/// Refuses an entry of the user's that is not sound.
pub fn entry(entry: &Entry) -> Result<(), CatalogError> {
    let failed = |reason| CatalogError { image: entry.name.clone(), reason };
    common(entry).and_then(|()| kind(entry)).map_err(failed)
}

/// Whether this can be typed after `--image` and stands for nothing else there.
pub fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
}

fn common(entry: &Entry) -> Result<(), String> {
    if !is_name(&entry.name) {
        return Err("has a name that cannot be typed: use a-z, 0-9, \"-\", \"_\" and \".\"".into());
    }
    if entry.arches.is_empty() {
        return Err("has no architecture in `arches`".into());
    }
    // useradd(8): NAME_REGEX of shadow-utils, at most 32 characters.
    let in_user = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    if !(entry.user.starts_with(first) && entry.user.chars().all(in_user) && entry.user.len() <= 32)
    {
        return Err(format!("has no user name in `user`: \"{}\"", entry.user));
    }
    Ok(())
}

fn kind(entry: &Entry) -> Result<(), String> {
    match &entry.kind {
        Kind::CloudImage(cloud) => names(cloud)?,
        Kind::Download { sha256, .. } => digests(sha256, &entry.arches)?,
        Kind::FcosStream { streams, .. } if streams.is_empty() => {
            return Err("has nothing in `streams`".into());
        }
        Kind::FcosStream { .. } => {}
        Kind::Registry { reference } if reference.contains("://") || !reference.contains('/') => {
            return Err(format!("has no HOST/REPOSITORY:TAG in `reference`: \"{reference}\""));
        }
        Kind::Registry { .. } => {}
        Kind::Recipe | Kind::Imported => {
            return Err("has a kind that only nsvm itself can provide".into());
        }
    }
    addresses(entry).map(drop)
}

/// Every address of an entry, with all words filled in.
pub fn addresses(entry: &Entry) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    let unknown = |word: String| format!("has a word without a value in an address: {{{word}}}");
    match &entry.kind {
        Kind::CloudImage(cloud) => {
            for (version, arch) in
                cloud.versions.iter().flat_map(|v| entry.arches.iter().map(move |arch| (v, *arch)))
            {
                let place = cloud.place(version, arch).map_err(unknown)?;
                // The digest comes from the list: only that must be protected.
                is_address(&place.url)?;
                is_protected(&place.checksums)?;
                all.extend([place.url, place.checksums]);
            }
        }
        Kind::FcosStream { url, streams, .. } => {
            for stream in streams {
                let word = |name: &str| (name == "stream").then_some(stream.as_str());
                let url = fill(url, word).map_err(unknown)?;
                is_protected(&url)?;
                all.push(url);
            }
        }
        Kind::Download { url, .. } => {
            for arch in &entry.arches {
                let word = |name: &str| (name == "arch").then_some(arch.name());
                let url = fill(url, word).map_err(unknown)?;
                is_address(&url)?;
                all.push(url);
            }
        }
        Kind::Registry { .. } | Kind::Recipe | Kind::Imported => {}
    }
    Ok(all)
}

/// Names of versions: each stands for one, and none can leave its directory.
fn names(cloud: &CloudImage) -> Result<(), String> {
    if cloud.versions.is_empty() {
        return Err("has nothing in `versions`".into());
    }
    let mut seen = BTreeSet::new();
    for name in cloud.versions.iter().flat_map(|v| std::iter::once(&v.name).chain(&v.aliases)) {
        if !is_name(name) {
            return Err(format!("has a version that cannot be typed: \"{name}\""));
        }
        if !seen.insert(name) {
            return Err(format!("has the version \"{name}\" twice"));
        }
    }
    Ok(())
}

fn digests(
    sha256: &std::collections::BTreeMap<Arch, String>,
    arches: &[Arch],
) -> Result<(), String> {
    let is_digest = |text: &String| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    match arches.iter().find(|arch| !sha256.get(arch).is_some_and(is_digest)) {
        Some(arch) => Err(format!("has no SHA-256 for {} in `sha256`", arch.name())),
        None => Ok(()),
    }
}

fn is_address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("has a bad address \"{text}\": {e}"))?;
    if matches!(url.scheme(), "http" | "https" | "file") {
        Ok(url)
    } else {
        Err(format!("has an address that is not https, http or file: \"{text}\""))
    }
}

fn is_protected(text: &str) -> Result<(), String> {
    let url = is_address(text)?;
    if fetch::is_protected(&url) {
        return Ok(());
    }
    Err(format!("has checksums at an address that is not https: \"{text}\""))
}

/// Lets the two kinds pass that only the embedded catalog may have.
#[cfg(test)]
pub fn only_ours(error: CatalogError) -> Result<(), CatalogError> {
    if error.reason.contains("only nsvm itself") { Ok(()) } else { Err(error) }
}
