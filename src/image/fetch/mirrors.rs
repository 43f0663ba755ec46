//! Where else a file may be had: mirrors of the server that publishes it.

use url::Url;

use super::is_loopback;
use crate::image::error::ImageError;

/// The URL in a text of a catalog or of the user.
pub fn address(text: &str) -> Result<Url, ImageError> {
    Url::parse(text).map_err(|e| ImageError::Url { url: text.to_owned(), reason: e.to_string() })
}

/// Whether nobody on the way can change what comes from there.
pub fn is_protected(url: &Url) -> bool {
    match url.scheme() {
        "https" | "file" => true,
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Whether a file of this host may be read because `from` says so: no server
/// has a say in that.
pub fn may_name(from: &Url, url: &Url) -> bool {
    url.scheme() != "file" || from.scheme() == "file"
}

/// The places of a file, in the order to try: each mirror, with its prefix in
/// place of the official server, then the official server. A file of another
/// server than `official` has no mirrors.
///
/// A mirror may be unprotected: only files whose digest is known may come from
/// such a one, which the caller sees to.
pub fn places(url: &Url, official: &Url, mirrors: &[String]) -> Vec<Url> {
    let mut all: Vec<Url> = Vec::new();
    if url.origin() == official.origin() {
        let file = &url[url::Position::BeforePath..];
        let on =
            |prefix: &String| Url::parse(&format!("{}{file}", prefix.trim_end_matches('/'))).ok();
        all.extend(mirrors.iter().filter_map(on));
    }
    all.push(url.clone());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_first_and_only_for_the_official_server() {
        let url = |text: &str| Url::parse(text).unwrap();
        let official = url("https://official.example/streams/{stream}.json");
        let mirrors = ["http://near.example/fcos/".to_owned(), "https://far.example".to_owned()];
        let text = |file: &str| -> Vec<String> {
            places(&url(file), &official, &mirrors).iter().map(Url::to_string).collect()
        };
        assert_eq!(
            text("https://official.example/prod/disk.xz?x=1"),
            [
                "http://near.example/fcos/prod/disk.xz?x=1",
                "https://far.example/prod/disk.xz?x=1",
                "https://official.example/prod/disk.xz?x=1"
            ]
        );
        assert_eq!(text("https://other.example/disk.xz"), ["https://other.example/disk.xz"]);
        assert_eq!(text("http://official.example/disk.xz"), ["http://official.example/disk.xz"]);
    }

    #[test]
    fn protected_means_https_or_this_host() {
        for (text, expected) in [
            ("https://a.example/", true),
            ("http://127.0.0.1:8080/", true),
            ("http://localhost/", true),
            ("file:///srv/x", true),
            ("http://a.example/", false),
            ("ftp://127.0.0.1/", false),
        ] {
            assert_eq!(is_protected(&Url::parse(text).unwrap()), expected, "{text}");
        }
    }
}
