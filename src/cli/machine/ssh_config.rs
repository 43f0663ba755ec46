//! `nsvm machine ssh-config`

use crate::app::ssh_config::{SshAccess, ssh_access};
use crate::app::wait::let_sshd_come;
use crate::cli::environment;

/// Show how other SSH programs reach a machine
///
/// For rsync, git, editors: put the entry into a file that your SSH
/// configuration includes, or give the file to ssh by -F.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  nsvm machine ssh-config work >work.conf && ssh -F work.conf nsvm-work"
)]
pub struct SshConfigArgs {
    #[command(flatten)]
    which: super::Which,
    /// An entry for ssh_config, a whole command, or its options
    #[arg(long, value_enum, default_value_t = Form::Config)]
    format: Form,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Form {
    Config,
    Cmd,
    Options,
}

pub fn run(args: &SshConfigArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let name = args.which.name(&context);
    let access = ssh_access(&context, &name)?;
    let_sshd_come(&context, &name);
    match args.format {
        Form::Config => out!("{}", access.entry()),
        Form::Options => outln!("{}", options(&access)),
        Form::Cmd => outln!("ssh {} {}", options(&access), access.alias),
    }
    Ok(0)
}

/// For a shell to read.
fn options(access: &SshAccess) -> String {
    let words: Vec<String> = access.arguments().iter().map(|word| shell_word(word)).collect();
    words.join(" ")
}

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:".contains(c);
    if word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(shell_word("Port=22"), "Port=22");
        assert_eq!(shell_word("a b'c"), "'a b'\\''c'");
    }
}
