//! Go's way to say how a time is written: by the example of one moment,
//! `Mon Jan 2 15:04:05 MST 2006` (package time, constants of layouts).

use jiff::Timestamp;

/// What stands for what, longer ones before those that they begin with.
/// Times are UTC here, as nsvm stores them.
const PARTS: [(&str, &str); 33] = [
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "UTC"),
    ("2006", "%Y"),
    ("-07:00:00", "+00:00:00"),
    ("-07:00", "+00:00"),
    ("-0700", "+0000"),
    ("-07", "+00"),
    ("Z07:00", "Z"),
    ("Z0700", "Z"),
    ("002", "%j"),
    (".000000000", ".%9f"),
    (".000000", ".%6f"),
    (".000", ".%3f"),
    (".999999999", "%.f"),
    (".999999", "%.6f"),
    (".999", "%.3f"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("_2", "%e"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("4", "%-M"),
];

/// The time as the layout writes its own.
pub fn format(time: Timestamp, layout: &str) -> String {
    let mut text = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        let part = PARTS.iter().find(|(example, _)| rest.starts_with(example));
        match part {
            Some((example, format)) => {
                text.push_str(&time.strftime(format).to_string());
                rest = &rest[example.len()..];
            }
            None => {
                text.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    text
}

/// As Go prints a time that nobody formats.
pub fn whole(time: Timestamp) -> String {
    format(time, "2006-01-02 15:04:05.999999999 -0700 MST")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_examples() {
        let time = Timestamp::from_nanosecond(1_700_000_003_120_000_000).unwrap();
        for (layout, written) in [
            ("2006-01-02", "2023-11-14"),
            ("2006-01-02T15:04:05Z07:00", "2023-11-14T22:13:23Z"),
            ("Mon, 2 Jan 2006 15:04:05 MST", "Tue, 14 Nov 2023 22:13:23 UTC"),
            ("3:04PM", "10:13PM"),
            ("Monday January 06 -0700", "Tuesday November 23 +0000"),
            ("05.000", "23.120"),
            ("05.999999999", "23.12"),
            ("ü %H 100 %", "ü %H 1100 %"),
        ] {
            assert_eq!(format(time, layout), written, "{layout}");
        }
        assert_eq!(whole(time), "2023-11-14 22:13:23.12 +0000 UTC");
        assert_eq!(whole(Timestamp::UNIX_EPOCH), "1970-01-01 00:00:00 +0000 UTC");
        let never = "0001-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(whole(never), "0001-01-01 00:00:00 +0000 UTC");
    }
}
