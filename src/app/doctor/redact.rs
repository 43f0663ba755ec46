//! Takes secrets out of texts that go into a bug report.

use std::sync::LazyLock;

use regex_lite::Regex;

/// What stands in a secret's place.
const GONE: &str = "[removed]";

static PRIVATE_KEY: LazyLock<Regex> = LazyLock::new(|| {
    let pattern =
        r"(?s)-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)";
    Regex::new(pattern).expect("it is a regular expression")
});

/// The rest of one that began before the text did: of a log only the end counts.
static END_OF_KEY: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"\A(?s:.*?)-----END [A-Z0-9 ]*PRIVATE KEY-----";
    Regex::new(pattern).expect("it is a regular expression")
});

/// The user part of a URL, with a password or without.
static USER_IN_URL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s"]+@"#).expect("it is a regular expression")
});

/// `NAME=value` and `"name": "value"` of names that tell.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r#"(?i)([a-z0-9_-]*(?:password|passwd|passphrase|secret|token|authorization|api_?key|credential)[a-z0-9_-]*"?\s*[=:]\s*)("[^"]*"|(?:(?:bearer|basic)\s+)?[^\s,;]+)"#;
    Regex::new(pattern).expect("it is a regular expression")
});

/// The text without private keys, passwords in URLs, and values of variables
/// whose names say that they are secret.
pub fn redact(text: &str) -> String {
    let text = PRIVATE_KEY.replace_all(text, GONE);
    let text = END_OF_KEY.replace(&text, GONE);
    let text = USER_IN_URL.replace_all(&text, format!("${{1}}{GONE}@"));
    NAMED.replace_all(&text, format!("${{1}}{GONE}")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_gone_and_the_rest_stays() {
        let key =
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\nBBBB\n-----END OPENSSH PRIVATE KEY-----\n";
        assert_eq!(redact(&format!("a\n{key}b\n")), "a\n[removed]\nb\n");
        // One that was cut off.
        assert_eq!(redact("x -----BEGIN PRIVATE KEY-----\nAAAA"), "x [removed]");
        assert_eq!(redact("AAAA\n-----END RSA PRIVATE KEY-----\nb"), "[removed]\nb");
        let url = "HTTPS_PROXY=http://me:p@ss@proxy:3128/ next https://a.b/c";
        assert_eq!(redact(url), "HTTPS_PROXY=http://[removed]@proxy:3128/ next https://a.b/c");
        assert_eq!(redact("Authorization: Bearer abc x"), "Authorization: [removed] x");
        assert_eq!(redact("GITHUB_TOKEN=abc x"), "GITHUB_TOKEN=[removed] x");
        assert_eq!(
            redact(r#"{"Password": "a b", "CPUs": 2}"#),
            r#"{"Password": [removed], "CPUs": 2}"#
        );
        let plain = "ssh-ed25519 AAAA me@host\nstarted in 3 s\n";
        assert_eq!(redact(plain), plain);
    }
}
