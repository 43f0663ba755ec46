//! Ends of logs, fit to be shown on a terminal: what a guest wrote is not
//! trusted, so control sequences are removed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Enough for the last screen of a console; bounds what is read of a log.
const MAX_BYTES: u64 = 16 * 1024;

/// A boot loader may draw without ever ending a line.
const MAX_COLUMNS: usize = 240;

/// The last `lines` non-empty lines of a file, sanitised. Empty if it cannot
/// be read: a tail decorates an error and never is one.
pub fn tail(path: &Path, lines: usize) -> String {
    last_lines(&sanitise(&String::from_utf8_lossy(&end_of(path))), lines)
}

fn end_of(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let length = file.metadata().map_or(0, |found| found.len());
        let start = SeekFrom::Start(length.saturating_sub(MAX_BYTES));
        if file.seek(start).is_ok() {
            // What was read before an error is still worth showing.
            let _ = file.take(MAX_BYTES).read_to_end(&mut bytes);
        }
    }
    bytes
}

fn last_lines(text: &str, count: usize) -> String {
    let all: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let last = &all[all.len().saturating_sub(count)..];
    last.iter().map(|line| clip(line)).collect::<Vec<_>>().join("\n")
}

fn clip(line: &str) -> String {
    line.chars().take(MAX_COLUMNS).collect()
}

/// Removes escape sequences (ECMA-48: CSI, OSC and two-character ones), other
/// control characters and invisible direction marks; a carriage return becomes
/// a line break.
pub fn sanitise(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\r' | '\n' => clean.push('\n'),
            '\t' => clean.push(' '),
            c if c.is_control() || is_invisible(c) => {}
            c => clean.push(c),
        }
    }
    clean
}

/// Skips the rest of an escape sequence, after its ESC.
fn skip_escape(chars: &mut std::str::Chars<'_>) {
    match chars.next() {
        // CSI: parameters, then one final byte.
        Some('[') => {
            chars.find(|c| ('@'..='~').contains(c));
        }
        // OSC and its kin: up to BEL, or ESC and a backslash.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            let end = chars.find(|c| matches!(c, '\u{7}' | '\u{1b}'));
            if end == Some('\u{1b}') {
                chars.next();
            }
        }
        // A character set choice has one more byte.
        Some('(' | ')' | '*' | '+' | '#' | ' ' | '%') => {
            chars.next();
        }
        _ => {}
    }
}

/// Characters that reorder or hide text without being control characters.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_control_characters_are_removed() {
        for (dirty, clean) in [
            ("[\u{1b}[0;32m  OK  \u{1b}[0m] Started", "[  OK  ] Started"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]0;title\u{1b}\\x", "x"),
            ("\u{1b}c\u{1b}(Ba\u{1b}[2J\u{1b}[?7lb", "ab"),
            ("a\u{0}\u{8}\u{7f}\u{9b}b\tc", "ab c"),
            ("abc\u{202e}def\u{200b}", "abcdef"),
            ("unfinished \u{1b}[12", "unfinished "),
            ("Grüße 🐧", "Grüße 🐧"),
        ] {
            assert_eq!(sanitise(dirty), clean, "{dirty:?}");
        }
    }

    #[test]
    fn the_last_lines_are_kept() {
        assert_eq!(last_lines("one\n\ntwo  \n \nthree\n", 2), "two\nthree");
        assert_eq!(last_lines("", 5), "");
        assert_eq!(last_lines(&"x".repeat(1000), 5).len(), MAX_COLUMNS);
    }

    #[test]
    fn only_the_end_of_a_large_log_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "line\n".repeat(100_000) + "\u{ff}end").unwrap();
        assert_eq!(tail(&path, 2), "line\n\u{ff}end");
        assert_eq!(tail(&dir.path().join("absent"), 2), "");
    }
}
