//! The program of a request, made ready for execve(2).

use std::ffi::{CString, NulError};

use serde::{Deserialize, Serialize};

use super::environment::Variables;
use crate::protocol::request::Bytes;

/// Where execvp(3) looks when there is no `PATH`.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// Arguments, environment, and the files to try in turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The name for messages.
    pub name: String,
    pub candidates: Vec<CString>,
    pub argv: Vec<CString>,
    pub env: Vec<CString>,
    /// The arguments as they were asked for.
    asked: Vec<Bytes>,
}

impl Program {
    /// The program of `argv`, searched on the `PATH` of `variables`; the
    /// user's shell as a login shell when `argv` is empty.
    pub fn new(argv: &[Bytes], variables: &Variables) -> Result<Self, NulError> {
        let env = variables
            .iter()
            .map(|(name, value)| CString::new([name, &b"="[..], value].concat()))
            .collect::<Result<_, _>>()?;
        let Some(first) = argv.first() else { return Self::shell(variables, env) };
        let path = variables.get(&b"PATH"[..]).map_or(DEFAULT_PATH, Vec::as_slice);
        Ok(Self {
            name: String::from_utf8_lossy(first).into_owned(),
            candidates: candidates(first, path)?,
            argv: argv.iter().map(|arg| CString::new(&arg[..])).collect::<Result<_, _>>()?,
            env,
            asked: argv.to_vec(),
        })
    }

    /// The same program in another environment, which has another `PATH`.
    pub fn with_environment(&self, variables: &Variables) -> Result<Self, NulError> {
        Self::new(&self.asked, variables)
    }

    /// Program and arguments in one line, for people.
    pub fn line(&self) -> String {
        let rest = self.asked.iter().skip(1).map(|arg| String::from_utf8_lossy(arg).into_owned());
        let words: Vec<String> = [self.name.clone()].into_iter().chain(rest).collect();
        let line = words.join(" ");
        // It can be as long as a request.
        line.chars().take(4096).collect()
    }

    /// `$SHELL` with a dash before its name, as util-linux starts it.
    fn shell(variables: &Variables, env: Vec<CString>) -> Result<Self, NulError> {
        let shell = variables.get(&b"SHELL"[..]).map_or(&b"/bin/sh"[..], Vec::as_slice);
        let base = shell.rsplit(|byte| *byte == b'/').next().unwrap_or(shell);
        Ok(Self {
            name: String::from_utf8_lossy(shell).into_owned(),
            candidates: vec![CString::new(shell)?],
            argv: vec![CString::new([b"-", base].concat())?],
            env,
            asked: Vec::new(),
        })
    }
}

fn candidates(program: &[u8], path: &[u8]) -> Result<Vec<CString>, NulError> {
    if program.is_empty() || program.contains(&b'/') {
        return Ok(vec![CString::new(program)?]);
    }
    let join = |dir: &[u8]| {
        let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
        CString::new([dir, slash, program].concat())
    };
    path.split(|byte| *byte == b':').map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(argv: &[&str], variables: &[(&str, &str)]) -> Program {
        let argv: Vec<Bytes> =
            argv.iter().map(|arg| Bytes::from(arg.as_bytes().to_vec())).collect();
        let variables =
            variables.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()));
        Program::new(&argv, &variables.collect()).unwrap()
    }

    fn paths(program: &Program) -> Vec<&str> {
        program.candidates.iter().map(|path| path.to_str().unwrap()).collect()
    }

    #[test]
    fn a_plain_name_is_searched_and_a_path_is_not() {
        assert_eq!(paths(&program(&["ls"], &[("PATH", "/a:/b")])), ["/a/ls", "/b/ls"]);
        assert_eq!(paths(&program(&["ls"], &[("PATH", ":/b")])), ["ls", "/b/ls"]);
        assert_eq!(paths(&program(&["ls"], &[])), ["/bin/ls", "/usr/bin/ls"]);
        assert_eq!(paths(&program(&["./ls"], &[("PATH", "/a")])), ["./ls"]);
        assert_eq!(paths(&program(&[""], &[("PATH", "/a")])), [""]);
    }

    #[test]
    fn without_a_program_the_shell_starts_as_a_login_shell() {
        let shell = program(&[], &[("SHELL", "/usr/bin/zsh")]);
        assert_eq!(paths(&shell), ["/usr/bin/zsh"]);
        assert_eq!(shell.argv[0].to_str(), Ok("-zsh"));
        assert_eq!(shell.env[0].to_str(), Ok("SHELL=/usr/bin/zsh"));
    }

    #[test]
    fn a_nul_byte_is_refused() {
        let argv = [Bytes::from(b"a\0b".to_vec())];
        assert!(Program::new(&argv, &Variables::new()).is_err());
    }
}
