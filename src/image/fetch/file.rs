//! `file:` URLs: a publisher's files on this host, where there is no network.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use url::Url;

use super::error::FetchError;

/// The file that a URL of this host names; `None` for all other URLs.
pub fn open(url: &Url) -> Result<Option<File>, FetchError> {
    if url.scheme() != "file" {
        return Ok(None);
    }
    let failed = |path, source| FetchError::File { path, source };
    let foreign = |()| {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it names no file of this host");
        failed(PathBuf::from(url.as_str()), source)
    };
    let path = url.to_file_path().map_err(foreign)?;
    // Looked at first: opening a pipe would wait for its other end.
    let found = std::fs::metadata(&path).map_err(|source| failed(path.clone(), source))?;
    if !found.is_file() {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no file");
        return Err(failed(path, source));
    }
    File::open(&path).map(Some).map_err(|source| failed(path, source))
}

/// A short text such as metadata, of at most `limit` bytes; `None` for URLs that
/// name no file.
pub fn text(url: &Url, limit: usize) -> Result<Option<Vec<u8>>, FetchError> {
    let Some(file) = open(url)? else { return Ok(None) };
    let mut text = Vec::new();
    let read = file.take(limit as u64 + 1).read_to_end(&mut text);
    read.map_err(|source| FetchError::File { path: PathBuf::from(url.path()), source })?;
    if text.len() > limit {
        return Err(FetchError::TooLong { url: url.clone(), limit });
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(path: &std::path::Path) -> Url {
        Url::from_file_path(path).unwrap()
    }

    #[test]
    fn files_are_read_up_to_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b.json");
        std::fs::write(&path, b"text").unwrap();
        assert_eq!(text(&url(&path), 4).unwrap().as_deref(), Some(&b"text"[..]));
        let error = text(&url(&path), 3).unwrap_err();
        assert!(matches!(error, FetchError::TooLong { limit: 3, .. }), "{error}");
        let web = Url::parse("https://example.org/x").unwrap();
        assert!(text(&web, 4).unwrap().is_none());
    }

    #[test]
    fn what_is_no_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        for path in [dir.path(), &missing] {
            let error = open(&url(path)).unwrap_err();
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            assert_eq!(error.is_missing(), path == missing);
            assert!(error.hint().is_some());
        }
    }
}
