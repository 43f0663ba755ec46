//! Whom to believe, asked with keys made on the spot.

use std::io::Read;
use std::time::SystemTime;

use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::SignatureType;
use pgp::types::Duration;

use super::{Keyring, matched};
use crate::image::error::ImageError;
use crate::image::signature::{Checked, SignatureError, Unfit};

#[path = "../../../tests/common/openpgp.rs"]
#[allow(dead_code)] // the other user of the file needs other parts
mod made;

use made::{Signer, Style, days_ago};

const FILE: &[u8] = b"a disk image, compressed";

/// The fingerprint of the certificate behind a good signature of `file`.
fn check(ring: &[u8], signature: &[u8], file: &[u8]) -> Result<String, SignatureError> {
    let keyring = Keyring::parse(ring, None).unwrap();
    let matched = matched(signature, &keyring, SystemTime::now())?;
    let mut checked = Checked::new(file, "disk", matched.start());
    match checked.read_to_end(&mut Vec::new()) {
        Ok(_) => Ok(matched.fingerprint().to_owned()),
        Err(e) => match e.downcast().unwrap() {
            ImageError::Signature { source, .. } => Err(source),
            other => panic!("{other}"),
        },
    }
}

/// Why this key must not be believed, though it has signed the file.
fn unfit(signer: &Signer) -> Unfit {
    match check(&signer.ring(), &signer.sign(FILE), FILE) {
        Err(SignatureError::Key { fingerprint, unfit }) => {
            assert_eq!(fingerprint, signer.fingerprint());
            unfit
        }
        other => panic!("{other:?}"),
    }
}

fn refused(style: Style) -> SignatureError {
    let signer = Signer::new();
    check(&signer.ring(), &signer.sign_as(style, FILE), FILE).unwrap_err()
}

#[test]
fn a_good_signature_names_its_certificate() {
    for signer in [Signer::new(), Signer::new().without_flags(), Signer::with_subkey(true)] {
        let signature = signer.sign(FILE);
        for ring in [signer.ring(), signer.armored().into_bytes()] {
            assert_eq!(check(&ring, &signature, FILE), Ok(signer.fingerprint()));
        }
    }
}

#[test]
fn one_other_bit_is_a_bad_signature() {
    let signer = Signer::new();
    let signature = signer.sign(FILE);
    let bad = Err(SignatureError::Bad { fingerprint: signer.fingerprint() });
    let mut file = FILE.to_vec();
    file[3] ^= 1;
    assert_eq!(check(&signer.ring(), &signature, &file), bad);
    assert_eq!(check(&signer.ring(), &signature, &FILE[1..]), bad);
    assert_eq!(check(&signer.ring(), &signature, b""), bad);
    // Another's signature that claims to be the signer's.
    let mut forged = signature.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(check(&signer.ring(), &forged, FILE), bad);
}

#[test]
fn keys_that_are_not_trusted_are_named() {
    let (signer, other) = (Signer::new(), Signer::new());
    let issuer = signer.fingerprint();
    let unknown = SignatureError::UnknownSigner { issuer };
    assert_eq!(check(&other.ring(), &signer.sign(FILE), FILE), Err(unknown));
    // Of two signatures the one counts whose maker is trusted.
    let both = [signer.sign(FILE), other.sign(FILE)].concat();
    assert_eq!(check(&other.ring(), &both, FILE), Ok(other.fingerprint()));
}

#[test]
fn a_key_must_be_alive_and_meant_for_signing() {
    assert_eq!(unfit(&Signer::new().expired()), Unfit::Expired);
    assert_eq!(unfit(&Signer::new().revoked()), Unfit::Revoked);
    assert_eq!(unfit(&Signer::with_subkey(true).revoked()), Unfit::Revoked);
    assert_eq!(unfit(&Signer::with_subkey(true).subkey_revoked()), Unfit::Revoked);
    assert_eq!(unfit(&Signer::with_subkey(false)), Unfit::NotForSigning);
}

/// Made with GnuPG 2.2: `--detach-sign`, and for the second key
/// `--cert-digest-algo SHA1`. The private keys are gone.
#[test]
fn what_gnupg_makes_is_understood() {
    let good = include_bytes!("../../../tests/fixtures/openpgp/gnupg.pgp");
    let signature = include_bytes!("../../../tests/fixtures/openpgp/gnupg.sig");
    assert_eq!(check(good, signature, FILE).unwrap().len(), 40);
    let error = check(good, signature, &FILE[1..]).unwrap_err();
    assert!(matches!(error, SignatureError::Bad { .. }), "{error}");

    let sha1 = include_bytes!("../../../tests/fixtures/openpgp/sha1-self-signed.pgp");
    let signature = include_bytes!("../../../tests/fixtures/openpgp/sha1-self-signed.sig");
    let error = check(sha1, signature, FILE).unwrap_err();
    assert!(matches!(error, SignatureError::Key { unfit: Unfit::Unbound, .. }), "{error}");
}

#[test]
fn a_copy_from_before_the_revocation_does_not_help() {
    let signer = Signer::new();
    let (before, signature) = (signer.ring(), signer.sign(FILE));
    let revoked = signer.revoked();
    for ring in [[before.clone(), revoked.ring()].concat(), [revoked.ring(), before].concat()] {
        let error = check(&ring, &signature, FILE).unwrap_err();
        assert!(matches!(error, SignatureError::Key { unfit: Unfit::Revoked, .. }), "{error}");
    }
}

#[test]
fn a_subkey_must_agree_to_its_certificate() {
    let owner = Signer::with_subkey(true);
    let thief = Signer::new().claiming(&owner);
    let error = check(&thief.ring(), &owner.sign(FILE), FILE).unwrap_err();
    assert!(matches!(error, SignatureError::Key { unfit: Unfit::Unbound, .. }), "{error}");
}

#[test]
fn a_signature_must_be_of_a_file_in_force_and_sound() {
    let style = Style::default();
    for hash in [HashAlgorithm::Sha1, HashAlgorithm::Md5] {
        let error = refused(Style { hash, ..style });
        assert!(matches!(error, SignatureError::WeakHash(_)), "{error}");
    }
    let text = refused(Style { kind: SignatureType::Text, ..style });
    assert_eq!(text, SignatureError::WrongKind);
    let tomorrow = pgp::types::Timestamp::from_secs(days_ago(0).as_secs() + 2 * 24 * 3600);
    assert_eq!(refused(Style { made: tomorrow, ..style }), SignatureError::Future);
    let life = Some(Duration::from_secs(3600));
    assert_eq!(refused(Style { life, ..style }), SignatureError::Expired);
    let error = refused(Style { made: days_ago(20), ..style });
    assert!(matches!(error, SignatureError::Key { unfit: Unfit::TooYoung, .. }), "{error}");
}

#[test]
fn what_is_no_signature_says_so() {
    let ring = Signer::new().ring();
    for file in [&b""[..], b"<!DOCTYPE html><p>log in", b"\x88\x01", &ring] {
        let error = check(&ring, file, FILE).unwrap_err();
        assert!(matches!(error, SignatureError::Malformed(_)), "{error}");
    }
}

#[test]
fn only_pinned_certificates_of_a_ring_count() {
    let (one, two) = (Signer::new(), Signer::new());
    let ring = [one.ring(), two.ring()].concat();
    let pins = [two.fingerprint().to_lowercase()];
    let keyring = Keyring::parse(&ring, Some(&pins)).unwrap();
    assert!(keyring.has(&two.fingerprint()) && !keyring.has(&one.fingerprint()));
    for armored in [
        format!("{}\n{}", one.armored(), two.armored()),
        format!("keys\n{}\nand more\n{}", two.armored(), one.armored()),
    ] {
        let keyring = Keyring::parse(armored.as_bytes(), Some(&pins)).unwrap();
        assert!(keyring.has(&two.fingerprint()) && !keyring.has(&one.fingerprint()));
    }
    assert!(Keyring::parse(&one.ring(), Some(&pins)).is_err_and(|e| e.contains("pinned")));
    assert!(Keyring::parse(b"not a key", None).is_err_and(|e| e.contains("no OpenPGP")));
}

/// Keys and signatures come from the network: whatever they hold, the answer is
/// an error, not a panic, and never a good signature of another file.
#[test]
fn changed_bytes_are_survived() {
    let ring = include_bytes!("../../../tests/fixtures/openpgp/gnupg.pgp");
    let signature = include_bytes!("../../../tests/fixtures/openpgp/gnupg.sig");
    let keyring = Keyring::parse(ring, None).unwrap();
    // Steps, because each certificate costs RSA without optimisation.
    for at in (0..signature.len()).step_by(11) {
        let mut changed = signature.to_vec();
        changed[at] ^= 0x81;
        let _ = matched(&changed, &keyring, SystemTime::now());
        let _ = matched(&signature[..at], &keyring, SystemTime::now());
    }
    for at in 0..ring.len() {
        let mut changed = ring.to_vec();
        changed[at] ^= 0x81;
        let _ = Keyring::parse(&ring[..at], None);
        if let (Ok(keyring), 0) = (Keyring::parse(&changed, None), at % 29) {
            let _ = matched(signature, &keyring, SystemTime::now());
        }
    }
    // Whatever is still accepted for the file is refused for another one.
    for at in (0..signature.len()).step_by(41) {
        let mut changed = signature.to_vec();
        changed[at] ^= 0x10;
        assert!(check(ring, &changed, &FILE[1..]).is_err(), "byte {at}");
    }
}
