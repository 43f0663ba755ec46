//! Linux signal names and numbers (signal(7), x86 and ARM), the same on every
//! host: the guest is a Linux, the host may not be.

/// Names without `SIG`; the index plus one is the number.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names of the same signals.
const ALIASES: [(&str, u8); 5] =
    [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31), ("LOST", 30)];

/// Real-time signals as the C library leaves them to programs.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

pub const HUP: u8 = 1;
pub const INT: u8 = 2;
pub const QUIT: u8 = 3;
pub const KILL: u8 = 9;
pub const USR1: u8 = 10;
pub const USR2: u8 = 12;
pub const PIPE: u8 = 13;
pub const TERM: u8 = 15;
pub const CONT: u8 = 18;

/// The number of a signal given as `TERM`, `sigterm`, `15` or `RTMIN+1`, as
/// util-linux reads it.
pub fn parse(text: &str) -> Option<u8> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return text.parse().ok().filter(|number| (1..=RTMAX).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return realtime(RTMIN, rest, '+');
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return realtime(RTMAX, rest, '-');
    }
    let plain = NAMES.iter().position(|known| *known == name).map(|at| at + 1);
    let plain = plain.and_then(|number| u8::try_from(number).ok());
    plain.or_else(|| ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, number)| *number))
}

fn realtime(base: u8, rest: &str, sign: char) -> Option<u8> {
    if rest.is_empty() {
        return Some(base);
    }
    let offset: u8 = rest.strip_prefix(sign)?.parse().ok()?;
    let number = if sign == '+' { base.checked_add(offset) } else { base.checked_sub(offset) };
    number.filter(|number| (RTMIN..=RTMAX).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_linux() {
        for (text, number) in [
            ("KILL", KILL),
            ("SIGKILL", KILL),
            ("sigterm", TERM),
            ("9", 9),
            ("USR1", USR1),
            ("SYS", 31),
            ("RTMIN", 34),
            ("RTMIN+2", 36),
            ("SIGRTMAX-1", 63),
        ] {
            assert_eq!(parse(text), Some(number), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for bad in ["", "0", "65", "SIG", "FOO", "RTMIN+31", "RTMAX+1", "-9"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
