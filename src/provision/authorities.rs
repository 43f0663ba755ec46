//! Certificate authorities for the guest, out of PEM files.

use base64::prelude::{BASE64_STANDARD, Engine};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Why a file names no authorities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthoritiesError {
    #[error("it holds no certificate in PEM form")]
    None,
    #[error("one of its certificates is damaged")]
    Damaged,
    #[error("this host's own certificate authorities cannot be read: {0}")]
    Native(String),
}

impl AuthoritiesError {
    /// The way out of the host's own that cannot be had.
    pub fn native_hint(&self) -> String {
        "Name the certificates that the guest needs with --guest-ca FILE".to_owned()
    }

    pub fn hint(&self) -> String {
        "Give --guest-ca a file with -----BEGIN CERTIFICATE----- in it (`openssl x509 -inform der` \
         converts from DER)"
            .to_owned()
    }
}

/// The certificates of a PEM file, each as a PEM text of its own: trust stores
/// of guests want one a file. Whatever else the file holds (a private key!)
/// stays out.
pub fn read(file: &[u8]) -> Result<Vec<String>, AuthoritiesError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(file).collect();
    let certificates = certificates.map_err(|_| AuthoritiesError::Damaged)?;
    if certificates.is_empty() {
        return Err(AuthoritiesError::None);
    }
    certificates.iter().map(|der| pem(der)).collect()
}

/// What this host trusts (crate rustls-native-certs: `SSL_CERT_FILE`, or the
/// system's own store), as [`read`] has it. One that is damaged is left out.
pub fn native() -> Result<Vec<String>, AuthoritiesError> {
    let found = rustls_native_certs::load_native_certs();
    let mut all: Vec<String> = found.certs.iter().filter_map(|der| pem(der).ok()).collect();
    all.sort();
    all.dedup();
    if all.is_empty() {
        let why =
            found.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(AuthoritiesError::Native(why));
    }
    Ok(all)
}

/// RFC 7468; the outermost element of a certificate is a SEQUENCE (0x30).
fn pem(der: &[u8]) -> Result<String, AuthoritiesError> {
    if der.first() != Some(&0x30) {
        return Err(AuthoritiesError::Damaged);
    }
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let encoded = BASE64_STANDARD.encode(der);
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().map(|&byte| char::from(byte)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> String {
        let made = rcgen::generate_simple_self_signed(vec!["test".to_owned()]).unwrap();
        made.cert.pem().replace("\r\n", "\n")
    }

    #[test]
    fn each_certificate_stands_alone_and_a_key_stays_out() {
        let (one, two) = (certificate(), certificate());
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let file = format!("# comment\n{one}{key}\n{two}");
        assert_eq!(read(file.as_bytes()).unwrap(), [one, two]);
    }

    #[test]
    fn other_files_are_refused() {
        assert_eq!(read(b"hello"), Err(AuthoritiesError::None));
        let cut = certificate().replace("-----END CERTIFICATE-----\n", "");
        assert_eq!(read(cut.as_bytes()), Err(AuthoritiesError::Damaged));
        let hello = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        assert_eq!(read(hello.as_bytes()), Err(AuthoritiesError::Damaged));
    }
}
