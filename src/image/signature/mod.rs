//! Signatures of published files: where they and the keys come from, what
//! their absence means, and whether what is in the cache was checked enough.
//!
//! ```text
//! error.rs    what can be wrong        ring.rs     the publisher's keys, or the user's
//! running.rs  checking bytes as they come
//! ```

mod error;
mod ring;
#[cfg_attr(not(feature = "gpg"), allow(dead_code))]
mod running;

use std::time::SystemTime;

use url::Url;

pub use error::{SignatureError, Unfit};
pub use running::{Checked, Running};

use super::cache::Remembered;
use super::catalog::Keys;
use super::choices::Signatures;
use super::error::ImageError;
use super::fetch::FetchError;
use super::openpgp::{Matched, matched};
use super::prepare::Job;
use crate::machine::verified::Signature;
use ring::{Failure, Ring};

/// A signature has 200 to 1200 bytes; some files have several.
const SIGNATURE_MAX: usize = 64 << 10;

/// Where a file's signature is, if its publisher names one, and who may have
/// made it.
#[derive(Debug, Clone, Default)]
pub struct Published<'a> {
    /// The file's name, for errors.
    pub what: &'a str,
    /// Places of the signature, in the order to try; none if none is named.
    pub signatures: Vec<Url>,
    /// The publisher's keys, if they are known.
    pub keys: Option<&'a Keys>,
}

/// What is to be done about a signature while its file comes.
#[derive(Debug)]
pub enum Plan {
    /// Check it against this key.
    Check(Box<Matched>),
    /// Nothing, and why.
    Skip(Signature),
}

impl Plan {
    /// What can be said of the file once it has come without an error.
    pub fn outcome(&self) -> Signature {
        match self {
            Self::Check(matched) => {
                Signature::Good { fingerprint: matched.fingerprint().to_owned() }
            }
            Self::Skip(why) => why.clone(),
        }
    }
}

/// Gets the signature and the keys, and decides what to do with them.
pub fn plan(job: &Job<'_>, published: &Published<'_>) -> Result<Plan, ImageError> {
    let is_named = !published.signatures.is_empty();
    match (is_named, job.settings.signatures) {
        (_, Signatures::Off) => {
            if is_named {
                job.progress.note("The signature is not checked: --signature off".to_owned());
            }
            Ok(Plan::Skip(Signature::unchecked("--signature off")))
        }
        (false, Signatures::Require) => Err(refused(published.what, SignatureError::NotPublished)),
        (false, Signatures::Auto) => Ok(Plan::Skip(Signature::default())),
        (true, Signatures::Require) => check(job, published),
        (true, Signatures::Auto) => match check(job, published) {
            Err(ImageError::Signature {
                source: error @ (SignatureError::NoKeys { .. } | SignatureError::NotBuilt),
                ..
            }) => {
                let text = format!("The signature is not checked: {error}");
                job.progress.warn(text);
                Ok(Plan::Skip(Signature::unchecked(error.to_string())))
            }
            done => done,
        },
    }
}

fn check(job: &Job<'_>, published: &Published<'_>) -> Result<Plan, ImageError> {
    let refused = |source| refused(published.what, source);
    if cfg!(not(feature = "gpg")) {
        return Err(refused(SignatureError::NotBuilt));
    }
    let signature = fetch(job, published)?;
    maker(job, &Ring::of(job, published.keys), &signature)
        .map(|found| Plan::Check(Box::new(found)))
        .map_err(|e| match e {
            Failure::Signature(source) => refused(source),
            Failure::Other(error) => error,
        })
}

/// The trusted key behind a signature. Keys from the cache are no reason to
/// refuse one: they may be older than it.
fn maker(job: &Job<'_>, ring: &Ring<'_>, signature: &[u8]) -> Result<Matched, Failure> {
    let now = SystemTime::now();
    let found = ring.keyring(job)?;
    match matched(signature, &found.keyring, now) {
        Err(error) if found.is_kept && error.depends_on_keys() => match ring.fresh(job) {
            Ok(fresh) => Ok(matched(signature, &fresh, now)?),
            // The kept keys are all there are: they were right.
            Err(Failure::Signature(_)) if ring.is_complete(&found.keyring) => Err(error.into()),
            Err(failure) => Err(failure),
        },
        found => Ok(found?),
    }
}

/// The signature's bytes. That it is nowhere is an error of its own.
fn fetch(job: &Job<'_>, published: &Published<'_>) -> Result<Vec<u8>, ImageError> {
    let mut failure = None;
    for url in &published.signatures {
        let http = job.http(url)?;
        match http.text(url, SIGNATURE_MAX) {
            Ok(bytes) => return Ok(bytes),
            Err(FetchError::Cancelled) => return Err(ImageError::Cancelled),
            Err(error) => failure = Some((url, error)),
        }
    }
    Err(match failure {
        Some((url, error)) if error.is_missing() => {
            refused(published.what, SignatureError::Missing { url: url.to_string() })
        }
        Some((_, error)) => error.into(),
        None => refused(published.what, SignatureError::NotPublished),
    })
}

fn refused(what: &str, source: SignatureError) -> ImageError {
    ImageError::Signature { what: what.to_owned(), source }
}

/// The cache has it, but not checked as is asked for now, and it must not be
/// downloaded.
pub fn not_checked(what: &str) -> ImageError {
    refused(what, SignatureError::NotChecked)
}

/// Whether an image in the cache was checked as much as is asked for now.
pub fn suffices(
    job: &Job<'_>,
    found: &Remembered,
    keys: Option<&Keys>,
) -> Result<bool, ImageError> {
    match (&found.verified.signature, job.settings.signatures) {
        (_, Signatures::Auto | Signatures::Off) => Ok(true),
        (Signature::Unchecked { .. }, Signatures::Require) => Ok(false),
        (Signature::Good { fingerprint }, Signatures::Require) => {
            Ring::of(job, keys).trusts(fingerprint).map_err(|source| refused(&found.source, source))
        }
    }
}

/// For an image that has no signature: refused before any work is done for it,
/// when one is required.
pub fn demand_none(job: &Job<'_>, what: &str) -> Result<(), ImageError> {
    match job.settings.signatures {
        Signatures::Require => Err(refused(what, SignatureError::NotPublished)),
        Signatures::Auto | Signatures::Off => Ok(()),
    }
}

#[cfg(all(test, not(feature = "gpg")))]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::image::prepare::Settings;
    use crate::image::testing::with_job;

    #[test]
    fn without_openpgp_a_required_signature_is_refused_and_another_warns() {
        let url = Url::parse("https://images.example/disk.xz.sig").unwrap();
        let published = Published { what: "disk.xz", signatures: vec![url], keys: None };
        let (_, events) = with_job(&AtomicBool::new(false), |job| {
            let settings = Settings { signatures: Signatures::Require, ..Settings::default() };
            let error = plan(&Job { settings: &settings, ..job }, &published).unwrap_err();
            assert!(error.to_string().contains("built without OpenPGP"), "{error}");
            let plan = plan(&job, &published).unwrap();
            assert!(matches!(plan.outcome(), Signature::Unchecked { .. }));
        });
        assert_eq!(events.len(), 1, "{events:?}");
    }
}
