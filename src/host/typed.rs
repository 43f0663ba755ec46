//! Paths as people type them on Windows.

/// What Windows calls the path: a drive as git-bash (`/c/dir`) and Cygwin
/// (`/cygdrive/c/dir`) write it gets its letter and colon back, and the prefix by
/// which programs ask for long paths (`\\?\`) goes, because QEMU and others take
/// it for a name. Everything else stays.
#[cfg_attr(not(windows), allow(dead_code))] // its tests run everywhere
pub(super) fn on_windows(text: &str) -> String {
    if let Some(share) = text.strip_prefix(r"\\?\UNC\") {
        return format!(r"\\{share}");
    }
    if let Some(rest) = text.strip_prefix(r"\\?\") {
        // Volumes without a letter have no other name.
        return if begins_with_drive(rest) { rest.to_owned() } else { text.to_owned() };
    }
    let below = text.strip_prefix("/cygdrive").unwrap_or(text);
    let mut parts = below.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(""), Some(letter), rest) if is_drive(letter) => {
            format!(r"{}:\{}", letter.to_ascii_uppercase(), rest.unwrap_or("").replace('/', r"\"))
        }
        _ => text.to_owned(),
    }
}

fn is_drive(text: &str) -> bool {
    text.len() == 1 && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn begins_with_drive(text: &str) -> bool {
    text.split_once(':').is_some_and(|(letter, _)| is_drive(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_path_is_what_windows_calls_it() {
        for (typed, path) in [
            (r"C:\Users\Zoë\my disk.qcow2", r"C:\Users\Zoë\my disk.qcow2"),
            ("C:/Users/a", "C:/Users/a"),
            ("/c/Users/Zoë/my disk.qcow2", r"C:\Users\Zoë\my disk.qcow2"),
            ("/d", r"D:\"),
            ("/d/", r"D:\"),
            ("/cygdrive/c/a/b", r"C:\a\b"),
            (r"\\?\C:\very\long", r"C:\very\long"),
            (r"\\?\UNC\server\share\a b", r"\\server\share\a b"),
            (r"\\server\share\a b", r"\\server\share\a b"),
            (r"\\?\Volume{b75e2c83-0000}\a", r"\\?\Volume{b75e2c83-0000}\a"),
            ("/dev/null", "/dev/null"),
            ("/cache/x", "/cache/x"),
            ("images/disk.raw", "images/disk.raw"),
            (r"..\disk.raw", r"..\disk.raw"),
        ] {
            assert_eq!(on_windows(typed), path, "{typed}");
        }
    }
}
