//! `nsvm machine env`

use clap::ValueEnum;

use crate::app::connections::{Made, Route, made};
use crate::cli::environment;

/// Print variables that lead programs of this shell into a machine
///
/// NSVM_MACHINE for nsvm, CONTAINER_HOST and CONTAINER_SSHKEY for podman, and
/// after `nsvm machine connect docker` DOCKER_HOST.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  eval \"$(nsvm machine env work)\"\n  \
        nsvm machine env work | source                       (fish)\n  \
        nsvm machine env work | Out-String | Invoke-Expression")]
pub struct EnvArgs {
    #[command(flatten)]
    which: super::Which,
    /// For bash, zsh, fish or powershell [default: the shell that is in use]
    #[arg(long, value_enum, hide_possible_values = true)]
    shell: Option<Shell>,
    /// Print what takes them back
    #[arg(short, long)]
    unset: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    #[value(alias = "sh")]
    Bash,
    Zsh,
    Fish,
    #[value(alias = "pwsh")]
    Powershell,
}

impl Shell {
    /// What `$SHELL` names; PowerShell sets none.
    fn in_use(variable: Option<&str>) -> Self {
        let name = variable.and_then(|path| path.rsplit(['/', '\\']).next());
        match name {
            Some("fish") => Self::Fish,
            Some("zsh") => Self::Zsh,
            Some("pwsh") => Self::Powershell,
            Some(_) => Self::Bash,
            None if cfg!(windows) => Self::Powershell,
            None => Self::Bash,
        }
    }

    fn set(self, name: &str, value: &str) -> String {
        match self {
            Self::Bash | Self::Zsh => format!("export {name}='{}'", value.replace('\'', r"'\''")),
            Self::Fish => {
                let value = value.replace('\\', r"\\").replace('\'', r"\'");
                format!("set -gx {name} '{value}'")
            }
            Self::Powershell => format!("$Env:{name} = '{}'", value.replace('\'', "''")),
        }
    }

    fn unset(self, name: &str) -> String {
        match self {
            Self::Bash | Self::Zsh => format!("unset {name}"),
            Self::Fish => format!("set -e {name}"),
            Self::Powershell => {
                format!("Remove-Item -ErrorAction SilentlyContinue Env:{name}")
            }
        }
    }
}

pub fn run(args: &EnvArgs) -> anyhow::Result<u8> {
    let context = environment::context()?;
    let name = &args.which.name(&context);
    let shell = args.shell.unwrap_or_else(|| Shell::in_use(environment::shell().as_deref()));
    for (name, value) in variables(&Route::of(&context, name)?, made(&context, name)) {
        let line = if args.unset { shell.unset(name) } else { shell.set(name, &value) };
        outln!("{line}");
    }
    Ok(0)
}

fn variables(route: &Route, made: Made) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("NSVM_MACHINE", route.machine.clone()),
        ("CONTAINER_HOST", route.podman(route.rootful)),
        ("CONTAINER_SSHKEY", route.identity.clone()),
    ];
    if made.docker {
        variables.push(("DOCKER_HOST", format!("ssh://{}", route.alias())));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_one_word_in_each_shell() {
        let odd = r"/Users/O'Neil \x";
        assert_eq!(Shell::Bash.set("K", odd), r"export K='/Users/O'\''Neil \x'");
        assert_eq!(Shell::Fish.set("K", odd), r"set -gx K '/Users/O\'Neil \\x'");
        assert_eq!(Shell::Powershell.set("K", odd), r"$Env:K = '/Users/O''Neil \x'");
    }

    #[test]
    fn the_shell_is_the_one_in_use() {
        assert_eq!(Shell::in_use(Some("/usr/bin/fish")), Shell::Fish);
        assert_eq!(Shell::in_use(Some("/bin/dash")), Shell::Bash);
        assert_eq!(Shell::in_use(Some("/opt/zsh")), Shell::Zsh);
    }
}
