//! `nsvm machine cp`

use std::ffi::OsStr;

use anyhow::Context as _;

use crate::app::copy::{End, copy};
use crate::cli::environment;
use crate::cli::printer::{Printer, Verbosity};
use crate::host;

/// Copy files or directories into or out of a running machine
///
/// One of the two is NAME:PATH, where a relative path starts at the user's
/// home. Modes and times are kept. DIR/. is what is in a directory.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  nsvm machine cp ./src work:project\n  \
                        nsvm machine cp work:/etc/os-release .")]
pub struct CpArgs {
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
    /// PATH, or NAME:PATH
    #[arg(value_name = "SRC", value_hint = clap::ValueHint::AnyPath)]
    from: std::ffi::OsString,
    /// PATH, or NAME:PATH
    #[arg(value_name = "DST", value_hint = clap::ValueHint::AnyPath)]
    to: std::ffi::OsString,
}

pub fn run(args: &CpArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let verbosity = if args.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let printer = Printer::new(verbosity);
    copy(&context, &end(&args.from)?, &end(&args.to)?, &printer)?;
    if !args.quiet {
        outln!("Copy successful");
    }
    Ok(0)
}

/// As scp(1) tells them apart: a colon that no slash comes before. A single
/// letter before it is a drive of Windows there.
fn end(typed: &OsStr) -> anyhow::Result<End> {
    let host = || End::Host(host::as_typed(typed.into()));
    let Some((name, path)) = typed.to_str().and_then(|text| text.split_once(':')) else {
        return Ok(host());
    };
    let drive = cfg!(windows) && name.len() == 1;
    if name.is_empty() || name.contains(['/', '\\']) || drive {
        return Ok(host());
    }
    let machine = name.parse().with_context(|| format!("reading \"{}\"", typed.display()))?;
    Ok(End::Guest { machine, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_before_any_slash_names_a_machine() {
        let host = |text: &str| End::Host(text.into());
        assert_eq!(end("./a:b".as_ref()).unwrap(), host("./a:b"));
        assert_eq!(end("a".as_ref()).unwrap(), host("a"));
        assert_eq!(end(":a".as_ref()).unwrap(), host(":a"));
        let guest = end("work:/a:b".as_ref()).unwrap();
        assert_eq!(guest, End::Guest { machine: "work".parse().unwrap(), path: "/a:b".into() });
        assert!(end("wo rk:/a".as_ref()).is_err());
    }
}
