//! The arguments of a process, as macOS hands them over.

/// The arguments in what sysctl(3) says for `KERN_PROCARGS2`, joined by spaces:
/// their number (an `int`), the program's path, NULs up to where a word of
/// memory begins, the arguments, each with a NUL, and the environment (XNU,
/// `sysctl_procargsx`). `None` if it is something else.
#[cfg_attr(not(target_os = "macos"), allow(dead_code))] // its tests run everywhere
pub(super) fn arguments(found: &[u8]) -> Option<String> {
    let (count, rest) = found.split_first_chunk::<4>()?;
    let count = usize::try_from(i32::from_ne_bytes(*count)).ok()?;
    let path = rest.iter().position(|byte| *byte == 0)?;
    let begin = path + rest[path..].iter().position(|byte| *byte != 0)?;
    let mut words = rest[begin..].split(|byte| *byte == 0);
    let words: Option<Vec<_>> =
        (0..count).map(|_| words.next().map(String::from_utf8_lossy)).collect();
    words.map(|words| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(count: i32, text: &str) -> Vec<u8> {
        [&count.to_ne_bytes(), text.as_bytes()].concat()
    }

    #[test]
    fn the_environment_is_no_argument() {
        let found = said(3, "/opt/qemu\0\0\0\0qemu\0-uuid\x002f9c\0HOME=/Users/Zoë\0\0");
        assert_eq!(arguments(&found).as_deref(), Some("qemu -uuid 2f9c"));
        let found = said(2, "/q\0q\0\0A=b\0");
        assert_eq!(arguments(&found).as_deref(), Some("q "));
    }

    #[test]
    fn something_else_has_no_arguments() {
        for found in [&b"ab"[..], &said(1, "/q"), &said(-1, "/q\0q\0"), &said(9, "/q\0q\0A=b\0")] {
            assert_eq!(arguments(found), None, "{found:?}");
        }
    }
}
