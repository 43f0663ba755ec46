//! The host's `TERM`, `--set-env` and `--env-file`: variables for the program.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{Host, UsageError, bytes};
use crate::protocol::request::Bytes;

/// Shared by the verbs that run something.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct EnvironmentArgs {
    /// Set a variable; without a value, take the host's (repeatable)
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = "Machine")]
    pub set_env: Vec<OsString>,
    /// Read variables from a file, one NAME=VALUE a line (repeatable)
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    pub env_file: Vec<PathBuf>,
}

impl EnvironmentArgs {
    /// The variables in the order in which they count: the terminal's kind, for
    /// programs without one ask for it, too; files; options.
    pub fn resolve(&self, host: &Host<'_>) -> Result<Vec<(Bytes, Bytes)>, UsageError> {
        let term = (host.env)("TERM").filter(|term| !term.is_empty());
        let mut all: Vec<_> =
            term.map(|term| (Bytes::from(b"TERM".to_vec()), bytes(&term))).into_iter().collect();
        for path in &self.env_file {
            let text = (host.read)(path).map_err(|source| UsageError::EnvFile {
                path: path.display().to_string(),
                source,
            })?;
            for line in text.split(|byte| *byte == b'\n') {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if !line.is_empty() && !line.starts_with(b"#") {
                    all.extend(variable(line, host)?);
                }
            }
        }
        for text in &self.set_env {
            all.extend(variable(text.as_encoded_bytes(), host)?);
        }
        Ok(all)
    }
}

/// One `NAME=VALUE`, or `NAME` alone, which is skipped when the host does
/// not have it.
fn variable(text: &[u8], host: &Host<'_>) -> Result<Option<(Bytes, Bytes)>, UsageError> {
    let shown = || String::from_utf8_lossy(text).into_owned();
    let equals = text.iter().position(|byte| *byte == b'=');
    let name = &text[..equals.unwrap_or(text.len())];
    if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) || text.contains(&0) {
        return Err(UsageError::Variable(shown()));
    }
    let Some(equals) = equals else {
        let name_text = std::str::from_utf8(name).map_err(|_| UsageError::Variable(shown()))?;
        return Ok((host.env)(name_text).map(|value| (Bytes::from(name.to_vec()), bytes(&value))));
    };
    Ok(Some((Bytes::from(name.to_vec()), Bytes::from(text[equals + 1..].to_vec()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(options: &[&str], file: &'static [u8]) -> Result<Vec<(String, String)>, UsageError> {
        let host = Host {
            env: &|name| (name == "HERE").then(|| "host's".into()),
            read: &|_| Ok(file.to_vec()),
            terminal: &|_| Ok(None),
        };
        let args = EnvironmentArgs {
            set_env: options.iter().map(Into::into).collect(),
            env_file: vec!["f".into()],
        };
        let text = |bytes: Bytes| String::from_utf8(bytes.into_vec()).unwrap();
        let all = args.resolve(&host)?;
        Ok(all.into_iter().map(|(name, value)| (text(name), text(value))).collect())
    }

    #[test]
    fn files_come_first_and_values_are_exact() {
        let all = resolve(&["A=b c=d", "HERE", "MISSING", "E="], b"# note\n\nX= y \r\nHERE\n");
        let expected =
            [("X", " y "), ("HERE", "host's"), ("A", "b c=d"), ("HERE", "host's"), ("E", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(all.unwrap(), expected);
    }

    #[test]
    fn the_kind_of_the_terminal_goes_along_unless_it_is_set() {
        let host = Host {
            env: &|name| (name == "TERM").then(|| "vt220".into()),
            read: &|_| Ok(vec![]),
            terminal: &|_| Ok(None),
        };
        let args = EnvironmentArgs { set_env: vec!["TERM=dumb".into()], env_file: vec![] };
        let all = args.resolve(&host).unwrap();
        let text = |value: &str| Bytes::from(value.as_bytes().to_vec());
        let term = |value| (text("TERM"), text(value));
        assert_eq!(all, [term("vt220"), term("dumb")]);
    }

    #[test]
    fn what_is_no_variable_is_named() {
        for bad in ["", "=x", "A B=x"] {
            let error = resolve(&[bad], b"").unwrap_err();
            assert!(error.to_string().contains(&format!("'{bad}'")), "{error}");
        }
    }
}
