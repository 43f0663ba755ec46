//! The options of lsns(8).

use super::OptionError;
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::listing::{Art, Choice, Column, Filter, Format, Style, Tree};

/// Each option alone; [`LsnsOptions::choice`] and [`LsnsOptions::format`] say
/// what they mean together.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LsnsOptions {
    /// Write JSON
    #[arg(short = 'J', long)]
    json: bool,
    /// Write a list, not a tree
    #[arg(short, long)]
    list: bool,
    /// Print no headings
    #[arg(short, long)]
    noheadings: bool,
    /// The columns; with a + in front, after the default ones
    #[arg(short, long, value_name = "LIST", allow_hyphen_values = true)]
    output: Option<String>,
    /// All columns
    #[arg(long)]
    output_all: bool,
    /// Only namespaces without processes
    #[arg(short = 'P', long)]
    persistent: bool,
    /// Only namespaces of this process
    #[arg(short = 'p', long, value_name = "PID", allow_hyphen_values = true)]
    task: Option<String>,
    /// Write blanks as \x20 and align nothing
    #[arg(short, long)]
    raw: bool,
    /// Cut no texts
    #[arg(short = 'u', long)]
    notruncate: bool,
    /// Several paths in one line
    #[arg(short = 'W', long)]
    nowrap: bool,
    /// Only this kind: mnt, net, ipc, user, pid, uts, cgroup, time (repeatable)
    #[arg(short = 't', long = "type", value_name = "TYPE", action = clap::ArgAction::Append)]
    kind: Vec<String>,
    /// Write a tree: parent, owner or process [without REL: owner]
    #[arg(
        short = 'T',
        long,
        value_name = "REL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "owner"
    )]
    tree: Option<String>,
    /// Only rows for which this holds, such as 'NPROCS > 1 && TYPE == "net"'
    #[arg(short = 'Q', long, value_name = "EXPR", allow_hyphen_values = true)]
    filter: Option<String>,
    /// Write the names of the columns, and list nothing
    #[arg(short = 'H', long)]
    pub list_columns: bool,
    /// List the processes of this namespace (an inode number)
    #[arg(value_name = "NAMESPACE")]
    namespace: Option<String>,
}

impl LsnsOptions {
    /// What was asked for.
    pub fn choice(&self) -> Result<Choice, OptionError> {
        self.check()?;
        let task = self.task.as_deref().map(pid).transpose()?;
        let kinds: Kinds = self.kind.iter().map(|name| kind(name)).collect::<Result<_, _>>()?;
        if task.is_some() && self.namespace.is_some() {
            return Err(OptionError::TaskAndNamespace);
        }
        let number = |text: &String| text.parse().map_err(|_| OptionError::Namespace(text.clone()));
        Ok(Choice {
            kinds: if kinds.is_empty() { Kind::ALL.into_iter().collect() } else { kinds },
            task,
            persistent: self.persistent,
            namespace: self.namespace.as_ref().map(number).transpose()?,
            tree: self.tree()?,
            filter: self.filter()?,
        })
    }

    fn check(&self) -> Result<(), OptionError> {
        let exclusive = [
            (self.json && self.raw, "--json --raw"),
            (self.persistent && self.task.is_some(), "--persistent --task"),
            (self.list && self.tree.is_some(), "--list --tree"),
        ];
        if let Some((_, options)) = exclusive.into_iter().find(|(both, _)| *both) {
            return Err(OptionError::Exclusive(options));
        }
        Ok(())
    }

    fn filter(&self) -> Result<Option<Filter>, OptionError> {
        let parse = |text: &String| {
            let text = text.clone();
            text.parse().map_err(|source| OptionError::Filter { text, source })
        };
        self.filter.as_ref().map(parse).transpose()
    }

    /// Without an option the processes form one, unless all columns are shown.
    fn tree(&self) -> Result<Tree, OptionError> {
        match self.tree.as_deref() {
            Some("owner") => Ok(Tree::Owner),
            Some("parent") => Ok(Tree::Parent),
            Some("process") => Ok(Tree::Process),
            Some(other) => Err(OptionError::Tree(other.to_owned())),
            None if self.list => Ok(Tree::None),
            None if self.output_all && self.namespace.is_none() => Ok(Tree::None),
            None => Ok(Tree::Process),
        }
    }

    /// How it is written: `width` is the terminal's, if stdout is one.
    pub fn format(&self, choice: &Choice, width: Option<usize>) -> Result<Format, OptionError> {
        Ok(Format {
            columns: self.columns()?,
            headings: !self.noheadings,
            style: match (self.json, self.raw) {
                (true, _) => Style::Json,
                (_, true) => Style::Raw,
                _ => Style::Aligned,
            },
            tree: choice.tree,
            nowrap: self.nowrap || self.raw,
            width: width.filter(|_| !self.notruncate),
            art: art(|name| std::env::var(name).ok()),
        })
    }

    fn columns(&self) -> Result<Vec<Column>, OptionError> {
        use Column::{Command, Netnsid, Nprocs, Ns, Nsfs, Pid, Ppid, Type, User};
        let is_net = self.kind.iter().any(|kind| kind == "net");
        let default = match (self.output_all, &self.namespace, is_net) {
            (true, ..) => Column::ALL.to_vec(),
            (_, Some(_), _) => vec![Pid, Ppid, User, Command],
            (_, None, true) => vec![Ns, Type, Nprocs, Pid, User, Netnsid, Nsfs, Command],
            _ => vec![Ns, Type, Nprocs, Pid, User, Command],
        };
        let Some(list) = self.output.as_deref() else { return Ok(default) };
        let (mut columns, list) = match list.strip_prefix('+') {
            Some(list) => (default, list),
            None => (Vec::new(), list),
        };
        for name in list.split(',') {
            let column = Column::by_name(name);
            columns.push(column.ok_or_else(|| OptionError::Column(name.to_owned()))?);
        }
        Ok(columns)
    }
}

fn pid(text: &str) -> Result<u32, OptionError> {
    let number = text.parse().ok().filter(|pid| (1..=i32::MAX.cast_unsigned()).contains(pid));
    number.ok_or_else(|| OptionError::Task(text.to_owned()))
}

fn kind(name: &str) -> Result<Kind, OptionError> {
    let found = Kind::ALL.into_iter().find(|kind| kind.proc_name() == name);
    found.ok_or_else(|| OptionError::Kind(name.to_owned()))
}

/// Lines where the locale's character set has them.
fn art(variable: impl Fn(&str) -> Option<String>) -> Art {
    let mut names = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let locale = names.find_map(|name| variable(name).filter(|value| !value.is_empty()));
    let locale = locale.unwrap_or_default().to_ascii_lowercase().replace('-', "");
    if locale.contains("utf8") { Art::Lines } else { Art::Ascii }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(args_override_self = true)]
    struct Cli {
        #[command(flatten)]
        args: LsnsOptions,
    }

    fn args(text: &str) -> LsnsOptions {
        Cli::try_parse_from(["lsns"].into_iter().chain(text.split_whitespace())).unwrap().args
    }

    fn names(text: &str) -> String {
        let columns = args(text).columns().unwrap();
        columns.into_iter().map(Column::name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn columns_depend_on_what_is_listed() {
        assert_eq!(names(""), "NS TYPE NPROCS PID USER COMMAND");
        assert_eq!(names("-t net -t mnt"), "NS TYPE NPROCS PID USER NETNSID NSFS COMMAND");
        assert_eq!(names("4026531837"), "PID PPID USER COMMAND");
        assert_eq!(names("-o pid,Ns"), "PID NS");
        assert_eq!(names("7 -o +path"), "PID PPID USER COMMAND PATH");
        assert_eq!(names("--output-all").split(' ').count(), 13);
    }

    #[test]
    fn options_choose_rows_and_tree() {
        let choice = |text| args(text).choice().unwrap();
        assert_eq!(choice("").tree, Tree::Process);
        assert_eq!(choice("-l").tree, Tree::None);
        assert_eq!(choice("--output-all").tree, Tree::None);
        assert_eq!(choice("-T").tree, Tree::Owner);
        assert_eq!(choice("-T=parent 7").namespace, Some(7));
        assert_eq!(choice("--tree=process -t pid").kinds, Kinds::NONE.with(Kind::Pid));
        assert_eq!((choice("-p 5").task, choice("-P").persistent), (Some(5), true));
    }

    #[test]
    fn refusals_are_worded_as_by_util_linux() {
        for (text, expected) in [
            ("-t x", "unknown namespace type: x"),
            ("-T=x", "unknown tree type: x"),
            ("-p x", "invalid PID argument: 'x'"),
            ("-p 0", "invalid PID argument: '0'"),
            ("x", "invalid namespace argument: 'x'"),
            ("-J -r", "mutually exclusive arguments: --json --raw"),
            ("-P -p 1", "mutually exclusive arguments: --persistent --task"),
            ("-l -T", "mutually exclusive arguments: --list --tree"),
            ("-p 1 7", "--task is mutually exclusive with <namespace>"),
        ] {
            assert_eq!(args(text).choice().unwrap_err().to_string(), expected);
        }
        let error = args("-o NS,x").columns().unwrap_err();
        assert_eq!(error.to_string(), "unknown column: x");
        let error = args("-Q NPROCS>").choice().unwrap_err();
        let text = "failed to parse \"NPROCS>\": an operand is missing at character 8";
        assert_eq!(error.to_string(), text);
        assert!(args("-Q NPROCS>1").choice().unwrap().filter.is_some());
    }

    #[test]
    fn lines_are_drawn_where_the_locale_has_them() {
        let only = |name: &'static str, value: &'static str| {
            art(move |asked| (asked == name).then(|| value.to_owned()))
        };
        assert_eq!(only("LANG", "de_DE.UTF-8"), Art::Lines);
        assert_eq!(only("LC_ALL", "C.utf8"), Art::Lines);
        assert_eq!(only("LC_CTYPE", "C"), Art::Ascii);
        assert_eq!(only("X", "UTF-8"), Art::Ascii);
    }
}
