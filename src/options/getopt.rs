//! Short options with an optional value, which getopt(3) takes from the same
//! word (`-n/run/netns/x`) and clap only behind an equals sign.

use std::ffi::OsString;

/// The options of a verb that has such ones.
struct Verb {
    name: &'static str,
    /// Short ones with an optional value.
    optional: &'static str,
    /// Short ones with a value in any case.
    required: &'static str,
    /// Long ones whose value is the next word, with ours.
    long_required: &'static [&'static str],
}

const VERBS: [Verb; 2] = [
    Verb {
        name: "nsenter",
        optional: "muinpCUTrwW",
        required: "tNSG",
        long_required: &[
            "target",
            "net-socket",
            "setuid",
            "setgid",
            "user-name",
            "set-env",
            "env-file",
        ],
    },
    Verb {
        name: "lsns",
        optional: "T",
        required: "poQt",
        long_required: &["output", "task", "type", "filter", "user-name"],
    },
];

/// The command line, `nsvm` included, with the short options of such a verb
/// rewritten; other verbs' are left alone.
pub fn getopt_form(args: Vec<OsString>) -> Vec<OsString> {
    let named = |at: usize| VERBS.iter().find(|verb| args[at] == verb.name).map(|v| (at, v));
    let Some((at, verb)) = verb(&args).and_then(named) else { return args };
    let mut form: Vec<OsString> = args[..=at].to_vec();
    let mut rest = args.into_iter().skip(at + 1);
    while let Some(word) = rest.next() {
        let text = word.to_str().unwrap_or_default();
        if text == "--" || text.len() < 2 || !text.starts_with('-') {
            form.push(word);
            break;
        }
        let (words, takes_next) = match text.strip_prefix("--") {
            Some(long) => (vec![word.clone()], verb.long_takes_next(long)),
            None => verb.shorts(&text[1..]),
        };
        form.extend(words);
        form.extend(takes_next.then(|| rest.next()).flatten());
    }
    form.extend(rest);
    form
}

/// Where the verb of a whole command line is, behind options such as `--machine NAME`.
pub fn verb(args: &[OsString]) -> Option<usize> {
    let mut at = 1;
    loop {
        match args.get(at)?.to_str()? {
            "--machine" | "--color" | "--log-level" => at += 2,
            word if word.starts_with('-') => at += 1,
            _ => return Some(at),
        }
    }
}

impl Verb {
    fn long_takes_next(&self, long: &str) -> bool {
        !long.contains('=') && self.long_required.iter().any(|name| name.starts_with(long))
    }

    /// A word of short options, its last value behind an equals sign, and
    /// whether the next word is a value.
    fn shorts(&self, text: &str) -> (Vec<OsString>, bool) {
        for (at, option) in text.char_indices() {
            let value = &text[at + option.len_utf8()..];
            if self.required.contains(option) {
                return (vec![format!("-{text}").into()], value.is_empty());
            }
            if self.optional.contains(option) && !value.is_empty() {
                let value = value.strip_prefix('=').unwrap_or(value);
                let before = (at > 0).then(|| format!("-{}", &text[..at]).into());
                let last = format!("-{option}={value}").into();
                return (before.into_iter().chain([last]).collect(), false);
            }
        }
        (vec![format!("-{text}").into()], false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(line: &str) -> String {
        let args = line.split(' ').map(OsString::from).collect();
        let form = getopt_form(args);
        form.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn values_in_the_same_word_get_an_equals_sign() {
        for (line, expected) in [
            ("nsvm nsenter -n/x -r", "nsvm nsenter -n=/x -r"),
            ("nsvm nsenter -Fn=/x -- -n/y", "nsvm nsenter -F -n=/x -- -n/y"),
            ("nsvm --machine m nsenter -t -n/x -m", "nsvm --machine m nsenter -t -n/x -m"),
            ("nsvm nsenter --target -5 -w/x a -w/y", "nsvm nsenter --target -5 -w=/x a -w/y"),
            ("nsvm nsenter -t1 -mu", "nsvm nsenter -t1 -m=u"),
            ("nsvm unshare -n/x", "nsvm unshare -n/x"),
            ("nsvm lsns -Tparent -nlT -p1", "nsvm lsns -T=parent -nlT -p1"),
            ("nsvm lsns -o -Tx --type -T", "nsvm lsns -o -Tx --type -T"),
        ] {
            assert_eq!(form(line), expected);
        }
    }
}
