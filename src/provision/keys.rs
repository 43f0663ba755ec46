//! A machine's two ed25519 key pairs: the user's and the guest's host key.

use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};

/// A key pair as text.
pub struct KeyPair {
    /// OpenSSH PEM, for `ssh -i` and sshd alike.
    pub private: String,
    /// `ssh-ed25519 AAAA... comment`, no newline.
    pub public: String,
}

/// Makes a new pair from the system's random source.
pub fn generate(comment: &str) -> Result<KeyPair, ssh_key::Error> {
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
    key.set_comment(comment);
    let private = key.to_openssh(LineEnding::LF)?.to_string();
    Ok(KeyPair { private, public: key.public_key().to_openssh()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pairs_differ_and_each_fits_together() {
        let (one, two) = (generate("a b").unwrap(), generate("a b").unwrap());
        assert_ne!(one.public, two.public);
        assert!(one.public.starts_with("ssh-ed25519 AAAA") && one.public.ends_with(" a b"));
        let parsed = PrivateKey::from_openssh(&one.private).unwrap();
        assert_eq!(parsed.public_key().to_openssh().unwrap(), one.public);
    }
}
