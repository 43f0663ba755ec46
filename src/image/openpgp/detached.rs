//! A detached signature: which trusted key made it, and whether it fits.

use std::time::SystemTime;

use pgp::composed::{Deserializable, DetachedSignature};
use pgp::packet::{Signature, SignatureType};
use pgp::types::Timestamp;

use super::certificate::{Key, has_ended, is_sound};
use super::keyring::Keyring;
use crate::image::signature::{Running, SignatureError, Unfit};

/// A file has a signature or two; more only keep us busy.
const SIGNATURES_MAX: usize = 16;

/// Clocks of signers and hosts differ by this much at most, in seconds.
const SKEW: u32 = 24 * 3600;

/// A signature, and the trusted key that it names as its maker. Whether it fits
/// the file is not known yet.
#[derive(Debug)]
pub struct Matched {
    signature: Signature,
    key: Key,
    fingerprint: String,
}

impl Matched {
    /// Of the certificate, upper-case hex.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Begins to check the file's bytes.
    pub fn start(&self) -> Running {
        let (signature, key) = (self.signature.clone(), self.key.clone());
        let bad = SignatureError::Bad { fingerprint: self.fingerprint.clone() };
        Running::start(bad.clone(), move |bytes| {
            signature.verify(&key, bytes).map_err(|_| bad.clone())
        })
    }
}

/// Finds the trusted key behind a signature file, armored or binary. Of several
/// signatures the first counts whose maker is trusted.
pub fn matched(file: &[u8], keyring: &Keyring, now: SystemTime) -> Result<Matched, SignatureError> {
    let now = Timestamp::try_from(now).map_err(|_| SignatureError::Future)?;
    let mut refused = None;
    for signature in parse(file)? {
        match maker(&signature, keyring, now) {
            Ok((key, fingerprint)) => return Ok(Matched { signature, key, fingerprint }),
            // What is wrong with a key we know tells more than one we do not.
            Err(SignatureError::UnknownSigner { .. }) if refused.is_some() => {}
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| SignatureError::Malformed("it is empty".to_owned())))
}

fn parse(file: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    let malformed = |e: pgp::errors::Error| SignatureError::Malformed(first_line(&e.to_string()));
    let (all, _) = DetachedSignature::from_reader_many(file).map_err(malformed)?;
    let all: Result<Vec<_>, _> = all.take(SIGNATURES_MAX).collect();
    Ok(all.map_err(malformed)?.into_iter().map(|one| one.signature).collect())
}

/// The certificate and key that may have made this signature.
fn maker(
    signature: &Signature,
    keyring: &Keyring,
    now: Timestamp,
) -> Result<(Key, String), SignatureError> {
    check(signature, now)?;
    let mut refused: Option<(Unfit, String)> = None;
    let mut found = None;
    // A ring may hold a certificate twice, before and after its revocation.
    for certificate in &keyring.certificates {
        let fingerprint = certificate.fingerprint();
        match certificate.signer(signature, now) {
            None => {}
            Some(Ok(key)) => found = found.or(Some((key, fingerprint))),
            Some(Err(Unfit::Revoked)) => {
                return Err(SignatureError::Key { fingerprint, unfit: Unfit::Revoked });
            }
            Some(Err(unfit)) => refused = refused.or(Some((unfit, fingerprint))),
        }
    }
    match (found, refused) {
        (Some(found), _) => Ok(found),
        (None, Some((unfit, fingerprint))) => Err(SignatureError::Key { fingerprint, unfit }),
        (None, None) => Err(SignatureError::UnknownSigner { issuer: issuer(signature) }),
    }
}

/// What can be wrong with a signature whoever made it.
fn check(signature: &Signature, now: Timestamp) -> Result<(), SignatureError> {
    let made = signature.created();
    match signature.typ() {
        _ if !is_sound(signature) => Err(SignatureError::WeakHash(
            signature.hash_alg().map_or_else(|| "an unknown hash".to_owned(), |h| h.to_string()),
        )),
        Some(SignatureType::Binary) => match made {
            None => Err(SignatureError::Malformed("it has no date".to_owned())),
            Some(made) if made.as_secs() > now.as_secs().saturating_add(SKEW) => {
                Err(SignatureError::Future)
            }
            Some(_) if has_ended(signature, now) => Err(SignatureError::Expired),
            Some(_) => Ok(()),
        },
        _ => Err(SignatureError::WrongKind),
    }
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|one| format!("{one:X}"));
    let id = || signature.issuer_key_id().first().map(|id| id.to_string().to_uppercase());
    fingerprint.or_else(id).unwrap_or_else(|| "that it does not name".to_owned())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
