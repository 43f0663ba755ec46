//! The host's proxy settings as a guest can use them.

/// The variables that programs look for, each in both cases. The list is
/// podman's, and `ALL_PROXY`, which curl reads.
const NAMES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"];

/// This host as a guest in QEMU's user-mode network sees it.
pub const HOST: &str = "10.0.2.2";

/// The variables among `environment` that a guest takes over, sorted, byte for
/// byte but for one thing: a proxy on this host's loopback is at [`HOST`] for
/// the guest. A value with a line break, which no proxy has, is left out.
pub fn for_guest(environment: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let known =
        |name: &str| NAMES.iter().any(|known| name == *known || name == known.to_uppercase());
    let fits = |value: &str| !value.is_empty() && !value.contains(['\n', '\r']);
    let mut found: Vec<_> = environment
        .filter(|(name, value)| known(name) && fits(value))
        .map(|(name, value)| {
            let list = name.eq_ignore_ascii_case("no_proxy");
            let value = if list { value } else { seen_from_guest(value) };
            (name, value)
        })
        .collect();
    found.sort();
    found
}

/// The URL with a loopback host replaced.
fn seen_from_guest(url: String) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    let start = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    let authority = &url[start..end];
    let length = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    if is_loopback(&authority[..length]) {
        [&url[..start], HOST, &url[start + length..]].concat()
    } else {
        url
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(name: &str, value: &str) -> Vec<(String, String)> {
        for_guest([(name.to_owned(), value.to_owned())].into_iter())
    }

    #[test]
    fn values_are_handed_on_byte_for_byte() {
        for value in [
            "http://u:p%20a$s@proxy.example:3128/?a='b'",
            "socks5h://[2001:db8::1]:1080",
            "proxy:8080",
        ] {
            assert_eq!(guest("HTTPS_PROXY", value)[0].1, value);
        }
        let list = "localhost,127.0.0.1,*.example.org";
        assert_eq!(guest("no_proxy", list)[0].1, list);
    }

    #[test]
    fn a_proxy_on_the_hosts_loopback_is_the_host() {
        for (here, there) in [
            ("http://127.0.0.1:3128", "http://10.0.2.2:3128"),
            ("http://me:x@LocalHost:3128/p", "http://me:x@10.0.2.2:3128/p"),
            ("localhost:3128", "10.0.2.2:3128"),
            ("http://[::1]:80", "http://10.0.2.2:80"),
            ("http://127.9.9.9", "http://10.0.2.2"),
            ("http://localhost.example:1", "http://localhost.example:1"),
        ] {
            assert_eq!(guest("http_proxy", here)[0].1, there);
        }
    }

    #[test]
    fn only_proxies_are_handed_on() {
        assert!(guest("SECRET", "x").is_empty() && guest("Http_Proxy", "x").is_empty());
        assert!(guest("HTTP_PROXY", "").is_empty() && guest("HTTP_PROXY", "a\nB=c").is_empty());
    }
}
