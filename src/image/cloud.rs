//! Images that the catalog knows by an address: a distribution's cloud image
//! with its list of checksums, and a file whose digest the catalog has.

use std::collections::BTreeMap;

use super::cache::{Key, Remembered};
use super::catalog::{CloudImage, Place};
use super::checksums::{self, ChecksumError, Published};
use super::error::ImageError;
use super::fetch::{address, is_protected};
use super::ingest::Expected;
use super::prepare::Job;
use super::remote::download;
use super::tracked::{Name, tracked};
use crate::machine::config::Arch;

/// The longest list known, Ubuntu's, has about 8 KB.
const LIST_MAX: usize = 1 << 20;

/// A version of a distribution; the first one of the catalog when none is named.
pub fn image(
    job: &Job<'_>,
    image: &str,
    cloud: &CloudImage,
    version: Option<&str>,
) -> Result<Remembered, ImageError> {
    let named = version.and_then(|name| cloud.version(name));
    let Some(version) = named.or(cloud.versions.first()) else {
        return Err(no_address(image, "versions"));
    };
    let place = cloud.place(version, job.arch).map_err(|word| no_address(image, &word))?;
    let spelling = format!("{image}:{}", version.name);
    let kind = format!("{image}-{}-{}", version.name, job.arch.name()).replace('.', "_");
    let key = Key::new(&kind, &[&place.url, &place.checksums]);
    tracked(job, &Name::unsigned(&key, &spelling), || {
        let found = newest(job, &spelling, &place)?;
        Ok(Remembered { release: Some(version.name.clone()), ..found })
    })
}

/// A catalog entry that its check would have refused.
fn no_address(image: &str, word: &str) -> ImageError {
    let reason = format!("its catalog entry does not say what {{{word}}} is");
    ImageError::Url { url: image.to_owned(), reason }
}

/// A file whose digest is in the catalog.
pub fn pinned(
    job: &Job<'_>,
    image: &str,
    template: &str,
    sha256: &BTreeMap<Arch, String>,
) -> Result<Remembered, ImageError> {
    let sha256 = sha256.get(&job.arch).ok_or_else(|| no_address(image, "sha256"))?;
    let sha256 = sha256.to_ascii_lowercase();
    let url = address(&template.replace("{arch}", job.arch.name()))?;
    let key = Key::new(&format!("{image}-{}", job.arch.name()).replace('.', "_"), &[&sha256]);
    tracked(job, &Name::unsigned(&key, image), || {
        let expected = Expected { source_sha256: Some(&sha256), ..Expected::default() };
        download(job, &url, expected)
    })
}

/// Looks the digest up and downloads what has it. Publishers replace list and
/// image one after the other: a mismatch counts only when the list stays.
fn newest(job: &Job<'_>, spelling: &str, place: &Place) -> Result<Remembered, ImageError> {
    job.progress.step(format!("Looking up {spelling}"));
    let url = address(&place.url)?;
    let published = look_up(job, place)?;
    match download(job, &url, published.expected()) {
        Err(mismatch @ ImageError::Mismatch { .. }) => match look_up(job, place)? {
            again if again == published => Err(mismatch),
            again => download(job, &url, again.expected()),
        },
        done => done,
    }
}

fn look_up(job: &Job<'_>, place: &Place) -> Result<Published, ImageError> {
    let unusable = |source| ImageError::Checksums { url: place.checksums.clone(), source };
    let url = address(&place.checksums)?;
    if !is_protected(&url) {
        return Err(unusable(ChecksumError::Unprotected(place.checksums.clone())));
    }
    let list = job.http(&url)?.text(&url, LIST_MAX)?;
    let list = String::from_utf8_lossy(&list);
    checksums::find(&list, &place.checksums, &place.url).map_err(unusable)
}
