//! `--cacert`: certificate authorities to trust besides the system's.

use std::fs;
use std::path::Path;

use reqwest::Certificate;

use super::FetchError;

/// Every certificate in a PEM file.
pub fn authorities(path: &Path) -> Result<Vec<Certificate>, FetchError> {
    let refused = |reason: String| FetchError::Authorities { path: path.to_owned(), reason };
    let pem = fs::read(path).map_err(|e| refused(e.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|e| refused(e.to_string()))?;
    if found.is_empty() {
        return Err(refused("there is no PEM certificate in it".to_owned()));
    }
    Ok(found)
}
