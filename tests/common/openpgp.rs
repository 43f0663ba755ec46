//! OpenPGP keys and signatures made for a test. No private key outlives it.

use pgp::composed::{
    Deserializable, DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    KeyFlags, RevocationCode, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData,
};
use pgp::ser::Serialize;
use pgp::types::{Duration, KeyDetails, Password, SigningKey, Tag, Timestamp};
use ssh_key::rand_core::OsRng;

const DAY: u32 = 24 * 3600;

/// Seconds since the epoch, `days` before now.
pub fn days_ago(days: u32) -> Timestamp {
    Timestamp::from_secs(Timestamp::now().as_secs() - days * DAY)
}

/// Somebody who signs files.
pub struct Signer {
    secret: SignedSecretKey,
    pub public: SignedPublicKey,
}

/// How a signature is made.
#[derive(Clone, Copy)]
pub struct Style {
    /// The hash that the signature claims.
    pub hash: HashAlgorithm,
    pub kind: SignatureType,
    pub made: Timestamp,
    pub life: Option<Duration>,
}

impl Default for Style {
    fn default() -> Self {
        let (hash, kind) = (HashAlgorithm::Sha256, SignatureType::Binary);
        Self { hash, kind, made: days_ago(1), life: None }
    }
}

impl Signer {
    /// A primary key that signs, ten days old.
    pub fn new() -> Self {
        Self::of(KeyType::Ed25519Legacy, true, &[])
    }

    /// A primary key that only certifies, and one subkey.
    pub fn with_subkey(can_sign: bool) -> Self {
        Self::of(KeyType::Ed25519Legacy, false, &[can_sign])
    }

    fn of(kind: KeyType, signs: bool, subkeys: &[bool]) -> Self {
        let subkeys = subkeys.iter().map(|can_sign| {
            let mut builder = SubkeyParamsBuilder::default();
            builder.key_type(KeyType::Ed25519Legacy).created_at(days_ago(10));
            builder.can_sign(*can_sign).can_authenticate(!can_sign).build().unwrap()
        });
        let mut builder = SecretKeyParamsBuilder::default();
        builder.key_type(kind).can_certify(true).can_sign(signs).created_at(days_ago(10));
        builder.primary_user_id("Publisher <p@example.org>".into()).subkeys(subkeys.collect());
        let secret = builder.build().unwrap().generate(OsRng).unwrap();
        let mut signer = Self { public: SignedPublicKey::from(secret.clone()), secret };
        // What the crate says of it is of now; the owner has said it when it was made.
        let signs = if signs { Some(true) } else { Some(false) };
        signer.say(signs, None);
        signer
    }

    /// Of the certificate, upper-case hex.
    pub fn fingerprint(&self) -> String {
        format!("{:X}", self.public.fingerprint())
    }

    /// The certificate, binary.
    pub fn ring(&self) -> Vec<u8> {
        self.public.to_bytes().unwrap()
    }

    pub fn armored(&self) -> String {
        self.public.to_armored_string(pgp::composed::ArmorOptions::default()).unwrap()
    }

    /// Another certificate, parsed anew.
    pub fn parsed(&self) -> SignedPublicKey {
        SignedPublicKey::from_bytes(&self.ring()[..]).unwrap()
    }

    /// Replaces what the owner says of the primary key.
    fn say(&mut self, signs: Option<bool>, life: Option<u32>) {
        let mut said = Vec::new();
        if let Some(signs) = signs {
            let mut flags = KeyFlags::default();
            flags.set_certify(true);
            flags.set_sign(signs);
            said.push(SubpacketData::KeyFlags(flags));
        }
        said.extend(life.map(|life| SubpacketData::KeyExpirationTime(Duration::from_secs(life))));
        let config = self.config(SignatureType::CertPositive, days_ago(9), said);
        let (key, id) = (&self.secret.primary_key, &self.public.details.users[0].id);
        let pw = Password::empty();
        let own = config.sign_certification(key, &self.public.primary_key, &pw, Tag::UserId, id);
        self.public.details.users[0].signatures = vec![own.unwrap()];
    }

    fn config(
        &self,
        kind: SignatureType,
        made: Timestamp,
        said: Vec<SubpacketData>,
    ) -> SignatureConfig {
        config(&self.secret.primary_key, kind, made, said)
    }

    /// The key was to live five of its ten days.
    pub fn expired(mut self) -> Self {
        self.say(Some(true), Some(5 * DAY));
        self
    }

    /// Its owner says nothing of what it is for.
    pub fn without_flags(mut self) -> Self {
        self.say(None, None);
        self
    }

    pub fn revoked(mut self) -> Self {
        let why = SubpacketData::RevocationReason(
            RevocationCode::KeyCompromised,
            Vec::from("stolen").into(),
        );
        let kind = SignatureType::KeyRevocation;
        let config = self.config(kind, days_ago(2), vec![why]);
        let (key, pw) = (&self.secret.primary_key, Password::empty());
        let revocation = config.sign_key(key, &pw, &self.public.primary_key).unwrap();
        self.public.details.revocation_signatures.push(revocation);
        self
    }

    /// The owner takes the subkey back.
    pub fn subkey_revoked(mut self) -> Self {
        let kind = SignatureType::SubkeyRevocation;
        let config = self.config(kind, days_ago(2), Vec::new());
        let (key, pw) = (&self.secret.primary_key, Password::empty());
        let sub = &mut self.public.public_subkeys[0];
        let revocation =
            config.sign_subkey_binding(key, &self.public.primary_key, &pw, &sub.key).unwrap();
        sub.signatures.push(revocation);
        self
    }

    /// A certificate that claims the other's subkey as its own: its owner binds
    /// it, but the subkey has not agreed.
    pub fn claiming(mut self, other: &Self) -> Self {
        let mut sub = other.public.public_subkeys[0].clone();
        let mut flags = KeyFlags::default();
        flags.set_sign(true);
        let said = vec![SubpacketData::KeyFlags(flags)];
        let kind = SignatureType::SubkeyBinding;
        let config = self.config(kind, days_ago(2), said);
        let (key, pw) = (&self.secret.primary_key, Password::empty());
        let binding = config.sign_subkey_binding(key, &self.public.primary_key, &pw, &sub.key);
        sub.signatures = vec![binding.unwrap()];
        self.public.public_subkeys = vec![sub];
        self
    }

    /// A detached signature of `file`, binary.
    pub fn sign(&self, file: &[u8]) -> Vec<u8> {
        self.sign_as(Style::default(), file)
    }

    /// The same, by the subkey if there is one.
    pub fn sign_as(&self, style: Style, file: &[u8]) -> Vec<u8> {
        match self.secret.secret_subkeys.first() {
            Some(sub) => detached(&sub.key, style, file),
            None => detached(&self.secret.primary_key, style, file),
        }
    }
}

fn config(
    key: &impl SigningKey,
    kind: SignatureType,
    made: Timestamp,
    said: Vec<SubpacketData>,
) -> SignatureConfig {
    let mut config = SignatureConfig::from_key(OsRng, key, kind).unwrap();
    config.hash_alg = HashAlgorithm::Sha256;
    let always = [
        SubpacketData::SignatureCreationTime(made),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
    ];
    let all = always.into_iter().chain(said);
    config.hashed_subpackets = all.map(|data| Subpacket::regular(data).unwrap()).collect();
    config
}

/// The crate makes no signature with a broken hash. One that claims it will do:
/// it is refused for what it claims.
fn detached(key: &impl SigningKey, style: Style, file: &[u8]) -> Vec<u8> {
    let life = style.life.map(SubpacketData::SignatureExpirationTime).into_iter().collect();
    let config = config(key, style.kind, style.made, life);
    let mut signature: Signature = config.sign(key, &Password::empty(), file).unwrap();
    if style.hash != HashAlgorithm::Sha256 {
        let mut claimed = signature.config().unwrap().clone();
        claimed.hash_alg = style.hash;
        let (start, bytes) = (signature.signed_hash_value(), signature.signature());
        signature =
            Signature::from_config(claimed, start.unwrap(), bytes.unwrap().clone()).unwrap();
    }
    DetachedSignature::new(signature).to_bytes().unwrap()
}
