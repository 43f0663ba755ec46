//! Fedora CoreOS: the newest release of a stream, or one release by name.
//!
//! Metadata comes over a protected way; it names the file, its digests, and its
//! signature, so that the file itself may come from anywhere.

use url::{Position, Url};

use super::cache::{Key, Remembered};
use super::catalog::Keys;
use super::error::ImageError;
use super::fetch::{self, is_protected, may_name, places};
use super::ingest::Expected;
use super::prepare::Job;
use super::release::Release;
use super::remote::{Download, download_from, first_that_answers};
use super::signature::Published;
use super::stream::{Artifact, Stream, StreamError};
use super::tracked::{Name, tracked};
use crate::machine::config::Arch;

/// Stream metadata has about 60 KB.
const METADATA_MAX: usize = 4 << 20;

/// What the catalog says, and what of it is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Fcos<'a> {
    pub image: &'a str,
    /// Template of the stream's URL.
    pub url: &'a str,
    /// Template of a release's URL.
    pub release_url: Option<&'a str>,
    pub keys: Option<&'a Keys>,
    pub stream: &'a str,
    pub release: Option<&'a str>,
}

/// The disk of a release as its metadata describes it.
struct Described {
    stream: String,
    release: String,
    artifact: Artifact,
    location: Url,
    signature: Option<Url>,
}

/// The release that is wanted: a named one for good, or the newest as of now.
pub fn image(job: &Job<'_>, fcos: &Fcos<'_>) -> Result<Remembered, ImageError> {
    let address = address(job, fcos)?;
    let key = Key::new(&format!("{}-{}-{}", fcos.image, fcos.stream, job.arch.name()), &[&address]);
    let spelling = spelling(fcos);
    let is_fixed = fcos.release.is_some();
    let name = Name { key: &key, spelling: &spelling, keys: fcos.keys, is_fixed };
    tracked(job, &name, || get(job, fcos, &spelling, &address))
}

fn spelling(fcos: &Fcos<'_>) -> String {
    let release = fcos.release.map(|release| format!("@{release}"));
    format!("{}:{}{}", fcos.image, fcos.stream, release.unwrap_or_default())
}

/// The URL of the metadata. `NSVM_STREAM_URL` replaces a stream's, and the
/// beginning of a release's.
fn address(job: &Job<'_>, fcos: &Fcos<'_>) -> Result<String, ImageError> {
    let own = job.settings.stream_url.as_deref();
    let Some(release) = fcos.release else {
        return Ok(own.map_or_else(|| fcos.url.replace("{stream}", fcos.stream), str::to_owned));
    };
    let template = fcos.release_url;
    let template = template.ok_or_else(|| ImageError::NoReleases(fcos.image.to_owned()))?;
    let address = template.replace("{stream}", fcos.stream).replace("{release}", release);
    Ok(match own {
        Some(own) => rebased(&fetch::address(&address)?, &fetch::address(own)?),
        None => address,
    })
}

/// `address` on the server of `stream_url`: what follows the host, after
/// whatever comes before `/streams/` there.
fn rebased(address: &Url, stream_url: &Url) -> String {
    let before = stream_url.path().rsplit_once("/streams/").map_or("", |(before, _)| before);
    format!("{}{before}{}", &stream_url[..Position::BeforePath], address.path())
}

fn get(
    job: &Job<'_>,
    fcos: &Fcos<'_>,
    spelling: &str,
    address: &str,
) -> Result<Remembered, ImageError> {
    let what = if fcos.release.is_some() { "" } else { "the newest release of " };
    job.progress.step(format!("Looking up {what}{spelling}"));
    // Mirrors stand in for the server that the catalog names, for no other.
    let official = fetch::address(fcos.url)?;
    let mirrors = &job.settings.mirrors;
    let url = protected(address)?;
    let metadata =
        places(&url, &official, mirrors).into_iter().filter(is_protected).collect::<Vec<_>>();
    let described = first_that_answers(job, &metadata, |url| describe(job, fcos, url))?;
    let Described { artifact, location, signature, .. } = &described;
    if described.stream != fcos.stream {
        let (found, asked) = (&described.stream, fcos.stream);
        job.progress
            .warn(format!("NSVM_STREAM_URL leads to the stream \"{found}\", not to {asked}"));
    }
    let signatures = signature.as_ref().map(|url| places(url, &official, mirrors));
    let signatures = signatures.unwrap_or_default();
    let found = download_from(
        job,
        &Download {
            places: places(location, &official, mirrors),
            expected: Expected {
                source_sha256: Some(&artifact.sha256),
                source_sha512: None,
                disk_sha256: artifact.uncompressed_sha256.as_deref(),
            },
            published: Published { what: location.as_str(), signatures, keys: fcos.keys },
        },
    )?;
    let (stream, release) = (Some(described.stream), Some(described.release));
    Ok(Remembered { stream, release, ..found })
}

fn describe(job: &Job<'_>, fcos: &Fcos<'_>, url: &Url) -> Result<Described, ImageError> {
    let text = job.http(url)?.text(url, METADATA_MAX)?;
    // NSVM_STREAM_URL may lead to a stream that the catalog does not know.
    let stream = job.settings.stream_url.is_none().then_some(fcos.stream);
    let found = match fcos.release {
        None => newest(&text, stream, job.arch),
        Some(release) => named(&text, fcos.stream, release, job.arch),
    };
    let described = found.and_then(|(stream, release, artifact)| {
        let location = secure(&artifact.location, url)?;
        let signature = artifact.signature.as_deref();
        let signature = signature.map(|location| secure(location, url)).transpose()?;
        Ok(Described { stream, release, artifact, location, signature })
    });
    described.map_err(|source| ImageError::Stream { url: url.to_string(), source })
}

/// Stream, release and disk.
type Found = (String, String, Artifact);

fn newest(metadata: &[u8], stream: Option<&str>, arch: Arch) -> Result<Found, StreamError> {
    let found = Stream::parse(metadata)?;
    if let Some(asked) = stream.filter(|stream| *stream != found.name()) {
        let (asked, found) = (asked.to_owned(), found.name().to_owned());
        return Err(StreamError::Other { asked, found });
    }
    let (release, artifact) = found.disk(arch)?;
    Ok((found.name().to_owned(), release.to_owned(), artifact.clone()))
}

fn named(metadata: &[u8], stream: &str, release: &str, arch: Arch) -> Result<Found, StreamError> {
    let artifact = Release::parse(metadata)?.disk(stream, release, arch)?.clone();
    Ok((stream.to_owned(), release.to_owned(), artifact))
}

fn protected(address: &str) -> Result<Url, ImageError> {
    let reason =
        "stream metadata comes over https (or by http or file from this host itself)".to_owned();
    let url = fetch::address(address)?;
    if is_protected(&url) {
        return Ok(url);
    }
    Err(ImageError::Url { url: address.to_owned(), reason })
}

/// What the metadata `from` there names is as protected as it is.
fn secure(location: &str, from: &Url) -> Result<Url, StreamError> {
    let url = Url::parse(location).ok().filter(|url| is_protected(url) && may_name(from, url));
    url.ok_or_else(|| StreamError::Location(location.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_looked_for_where_the_stream_is() {
        let official = "https://builds.example.org/prod/streams/next/builds/1.2/release.json";
        let official = Url::parse(official).unwrap();
        for (own, expected) in [
            ("http://127.0.0.1:8/streams/stable.json", "http://127.0.0.1:8"),
            ("https://m.example/fcos/streams/next.json", "https://m.example/fcos"),
            ("https://m.example/other.json?x", "https://m.example"),
            ("file:///srv/fcos/streams/next.json", "file:///srv/fcos"),
        ] {
            let found = rebased(&official, &Url::parse(own).unwrap());
            assert_eq!(
                found,
                format!("{expected}/prod/streams/next/builds/1.2/release.json"),
                "{own}"
            );
        }
    }
}
