//! One certificate: a primary key, what its owner says of it, and subkeys.
//!
//! Everything said by a signature counts only if that signature is the
//! owner's, made with a sound hash, and in force.

use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{
    Duration, KeyDetails, KeyVersion, PublicParams, SignatureBytes, Tag, Timestamp, VerifyingKey,
};

use crate::image::signature::Unfit;

/// Shorter RSA keys are within reach of those who can spend a lot (NIST SP
/// 800-131A).
const RSA_MIN_BITS: u16 = 2048;

pub struct Certificate(SignedPublicKey);

/// The key of a certificate that made a signature.
#[derive(Debug, Clone)]
pub enum Key {
    Primary(pgp::packet::PublicKey),
    Sub(pgp::packet::PublicSubkey),
}

impl Certificate {
    pub fn new(key: SignedPublicKey) -> Self {
        Self(key)
    }

    /// Of the primary key, upper-case hex: the certificate's name.
    pub fn fingerprint(&self) -> String {
        format!("{:X}", self.0.primary_key.fingerprint())
    }

    /// The key of this certificate that `signature` names as its maker, if it
    /// may sign at `now` and could at the time it did.
    pub fn signer(&self, signature: &Signature, now: Timestamp) -> Option<Result<Key, Unfit>> {
        let primary = &self.0.primary_key;
        let (key, fit) = if names(signature, primary) {
            (Key::Primary(primary.clone()), self.primary_signs(now))
        } else {
            let sub = self.0.public_subkeys.iter().find(|sub| names(signature, &sub.key))?;
            let whole = self.primary_lives(now).map(|_| ());
            (Key::Sub(sub.key.clone()), whole.and_then(|()| self.subkey_signs(sub, now)))
        };
        let made = signature.created().unwrap_or_default();
        Some(fit.and_then(|()| strong(&key)).and_then(|()| match key.created_at() {
            created if created > made => Err(Unfit::TooYoung),
            _ => Ok(key),
        }))
    }

    /// Checks that the primary key is in force; returns what its owner says of it.
    fn primary_lives(&self, now: Timestamp) -> Result<&Signature, Unfit> {
        let primary = &self.0.primary_key;
        let revoked = self.0.details.revocation_signatures.iter();
        if revoked.clone().any(|one| one.verify_key(primary).is_ok()) {
            return Err(Unfit::Revoked);
        }
        let word = latest(self.self_signatures(), now).ok_or(Unfit::Unbound)?;
        expiry(primary.created_at(), word.key_expiration_time(), now).map(|()| word)
    }

    fn primary_signs(&self, now: Timestamp) -> Result<(), Unfit> {
        let word = self.primary_lives(now)?;
        // Without flags a primary key may do all it can (RFC 9580 section 5.2.3.29
        // leaves it open; GnuPG sees it so).
        if has_flags(word) && !word.key_flags().sign() {
            return Err(Unfit::NotForSigning);
        }
        Ok(())
    }

    fn subkey_signs(&self, sub: &SignedPublicSubKey, now: Timestamp) -> Result<(), Unfit> {
        let primary = &self.0.primary_key;
        let owners = sub
            .signatures
            .iter()
            .filter(|one| one.verify_subkey_binding(primary, &sub.key).is_ok());
        if owners.clone().any(|one| one.typ() == Some(SignatureType::SubkeyRevocation)) {
            return Err(Unfit::Revoked);
        }
        let bindings = owners.filter(|one| one.typ() == Some(SignatureType::SubkeyBinding));
        let word = latest(bindings, now).ok_or(Unfit::Unbound)?;
        expiry(sub.key.created_at(), word.key_expiration_time(), now)?;
        if !word.key_flags().sign() {
            return Err(Unfit::NotForSigning);
        }
        // The subkey must agree: else one could claim another's key as one's own.
        let agrees = |back: &Signature| {
            is_sound(back) && back.verify_primary_key_binding(&sub.key, primary).is_ok()
        };
        word.embedded_signature().filter(|back| agrees(back)).map(|_| ()).ok_or(Unfit::Unbound)
    }

    /// What the owner says of the primary key, directly or with a user id.
    fn self_signatures(&self) -> impl Iterator<Item = &Signature> {
        let (primary, details) = (&self.0.primary_key, &self.0.details);
        let direct = details
            .direct_signatures
            .iter()
            .filter(|one| one.typ() == Some(SignatureType::Key) && one.verify_key(primary).is_ok());
        let users = details.users.iter().flat_map(move |user| {
            let own =
                |one: &&Signature| one.verify_certification(primary, Tag::UserId, &user.id).is_ok();
            let signatures = user.signatures.iter().filter(own);
            let is_revoked =
                signatures.clone().any(|one| one.typ() == Some(SignatureType::CertRevocation));
            signatures.filter(move |_| !is_revoked)
        });
        direct.chain(users)
    }
}

impl KeyDetails for Key {
    fn version(&self) -> KeyVersion {
        self.inner().version()
    }
    fn legacy_key_id(&self) -> pgp::types::KeyId {
        self.inner().legacy_key_id()
    }
    fn fingerprint(&self) -> pgp::types::Fingerprint {
        self.inner().fingerprint()
    }
    fn algorithm(&self) -> pgp::crypto::public_key::PublicKeyAlgorithm {
        self.inner().algorithm()
    }
    fn created_at(&self) -> Timestamp {
        self.inner().created_at()
    }
    fn legacy_v3_expiration_days(&self) -> Option<u16> {
        self.inner().legacy_v3_expiration_days()
    }
    fn public_params(&self) -> &PublicParams {
        self.inner().public_params()
    }
}

impl VerifyingKey for Key {
    fn verify(
        &self,
        hash: HashAlgorithm,
        digest: &[u8],
        signature: &SignatureBytes,
    ) -> pgp::errors::Result<()> {
        self.inner().verify(hash, digest, signature)
    }
}

impl Key {
    fn inner(&self) -> &dyn VerifyingKey {
        match self {
            Self::Primary(key) => key,
            Self::Sub(key) => key,
        }
    }
}

/// Whether the hash cannot be made to collide at will.
pub fn is_sound(signature: &Signature) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    let sound = [Sha256, Sha384, Sha512, Sha3_256, Sha3_512];
    signature.hash_alg().is_some_and(|hash| sound.contains(&hash))
}

/// Whether `signature` has ended at `now`; zero means never.
pub fn has_ended(signature: &Signature, now: Timestamp) -> bool {
    let (Some(made), Some(life)) = (signature.created(), signature.signature_expiration_time())
    else {
        return false;
    };
    ends(made, life).is_some_and(|end| now.as_secs() >= end)
}

/// Whether the signature names `key` as its maker. One that names nobody counts
/// as nobody's.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let (id, fingerprint) = (key.legacy_key_id(), key.fingerprint());
    match signature.issuer_fingerprint().as_slice() {
        [] => signature.issuer_key_id().into_iter().any(|one| *one == id),
        named => named.iter().any(|one| **one == fingerprint),
    }
}

/// The newest signature that is sound and in force.
fn latest<'a>(
    signatures: impl Iterator<Item = &'a Signature>,
    now: Timestamp,
) -> Option<&'a Signature> {
    let in_force = |one: &&Signature| {
        is_sound(one) && one.created().is_some_and(|made| made <= now) && !has_ended(one, now)
    };
    signatures.filter(in_force).max_by_key(|one| one.created())
}

fn expiry(created: Timestamp, life: Option<Duration>, now: Timestamp) -> Result<(), Unfit> {
    match life.and_then(|life| ends(created, life)) {
        Some(end) if now.as_secs() >= end => Err(Unfit::Expired),
        _ => Ok(()),
    }
}

/// Seconds since the epoch. A life of zero has no end (RFC 9580 section 5.2.3.13).
fn ends(start: Timestamp, life: Duration) -> Option<u32> {
    (life.as_secs() > 0).then(|| start.as_secs().saturating_add(life.as_secs()))
}

fn has_flags(signature: &Signature) -> bool {
    let flags = |data: &SubpacketData| matches!(data, SubpacketData::KeyFlags(_));
    signature.config().is_some_and(|config| config.hashed_subpackets().any(|one| flags(&one.data)))
}

fn strong(key: &Key) -> Result<(), Unfit> {
    let modern = matches!(key.version(), KeyVersion::V4 | KeyVersion::V6);
    match key.public_params() {
        _ if !modern => Err(Unfit::Weak),
        PublicParams::RSA(rsa) if first_mpi_bits(rsa) < RSA_MIN_BITS => Err(Unfit::Weak),
        PublicParams::DSA(_) => Err(Unfit::Weak),
        _ => Ok(()),
    }
}

/// Bits of the first number of some key material, which for RSA is the modulus:
/// a number begins with its length in bits (RFC 9580 section 3.2).
fn first_mpi_bits(material: &impl Serialize) -> u16 {
    match material.to_bytes().as_deref() {
        Ok([high, low, ..]) => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use pgp::packet::{Packet, PacketParser};

    use super::*;

    /// A public key packet (RFC 9580 section 5.5.2) of version 4 with an RSA key
    /// of so many bits.
    fn rsa(bits: u16) -> Key {
        let mut body = vec![4, 0x60, 0, 0, 0, 1];
        body.extend(bits.to_be_bytes());
        let mut modulus = vec![0xff; usize::from(bits / 8)];
        modulus[0] = 0x80;
        body.extend(modulus);
        body.extend([0, 17, 1, 0, 1]);
        let mut packet = vec![0x99];
        packet.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        packet.extend(body);
        match PacketParser::new(&packet[..]).next() {
            Some(Ok(Packet::PublicKey(key))) => Key::Primary(key),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn short_keys_are_weak() {
        assert_eq!(strong(&rsa(1024)), Err(Unfit::Weak));
        assert_eq!(strong(&rsa(2040)), Err(Unfit::Weak));
        assert_eq!(strong(&rsa(2048)), Ok(()));
    }
}
