//! `lsns --filter`: which rows an expression of `scols-filter(5)` keeps.

mod parse;

use std::cmp::Ordering;

use regex_lite::Regex;

use super::{Column, Row, Snapshot};
use parse::Parser;

/// An expression about columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(Expr);

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at character {at}")]
pub struct NoFilter {
    reason: String,
    /// Counted from 1.
    at: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Expr {
    Is(Operand),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Compare(Operand, Relation, Operand),
    Matches(Operand, Pattern),
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Column(Column),
    Number(f64),
    Text(String),
    Boolean(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    Different,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// A regular expression, equal to another of the same text.
#[derive(Debug, Clone)]
struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// An operand of one row. None: the row has nothing there.
enum Value {
    None,
    Number(f64),
    Text(String),
}

impl std::str::FromStr for Filter {
    type Err = NoFilter;

    fn from_str(text: &str) -> Result<Self, NoFilter> {
        Parser::new(text)?.whole().map(Self)
    }
}

impl Filter {
    /// The rows it keeps; what hung below one that it drops hangs below
    /// nothing, as in lsns(8).
    pub fn apply(&self, rows: Vec<Row>, snapshot: &Snapshot) -> Vec<Row> {
        let (mut kept, mut places) = (Vec::new(), Vec::new());
        for mut row in rows {
            let keeps = self.0.holds(&row, snapshot);
            places.push(keeps.then_some(kept.len()));
            if keeps {
                row.parent = row.parent.and_then(|parent| places.get(parent).copied().flatten());
                kept.push(row);
            }
        }
        kept
    }
}

impl Expr {
    fn holds(&self, row: &Row, snapshot: &Snapshot) -> bool {
        match self {
            Self::Is(operand) => operand.value(row, snapshot).is_true(),
            Self::Not(inner) => !inner.holds(row, snapshot),
            Self::And(a, b) => a.holds(row, snapshot) && b.holds(row, snapshot),
            Self::Or(a, b) => a.holds(row, snapshot) || b.holds(row, snapshot),
            Self::Compare(a, relation, b) => {
                let order = a.value(row, snapshot).compare(&b.value(row, snapshot));
                relation.holds(order)
            }
            Self::Matches(operand, Pattern(regex)) => match operand.value(row, snapshot) {
                Value::None => false,
                Value::Number(number) => regex.is_match(&number.to_string()),
                Value::Text(text) => regex.is_match(&text),
            },
        }
    }
}

impl Operand {
    fn value(&self, row: &Row, snapshot: &Snapshot) -> Value {
        match self {
            Self::Number(number) => Value::Number(*number),
            Self::Boolean(boolean) => Value::Number(f64::from(u8::from(*boolean))),
            Self::Text(text) => Value::Text(text.clone()),
            Self::Column(column) => {
                let text = row.text(*column, snapshot);
                match text.parse() {
                    _ if text.is_empty() => Value::None,
                    Ok(number) if column.is_number() => Value::Number(number),
                    _ => Value::Text(text),
                }
            }
        }
    }
}

impl Value {
    fn is_true(&self) -> bool {
        match self {
            Self::None => false,
            Self::Number(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
        }
    }

    /// Numbers as numbers where both sides are, or can be read as such.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::None, Self::None) => Some(Ordering::Equal),
            (Self::None, _) | (_, Self::None) => None,
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (a, b) => a.number()?.partial_cmp(&b.number()?),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::None => None,
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

impl Relation {
    /// What cannot be compared is only different.
    fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::Different => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::AtMost => order.is_some_and(Ordering::is_le),
            Self::More => order == Some(Ordering::Greater),
            Self::AtLeast => order.is_some_and(Ordering::is_ge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::kind::Kind;
    use crate::namespace::listing::{Namespace, Process};

    fn row(kind: Kind, id: u64, nprocs: usize, command: Option<&str>) -> Row {
        let namespace = Namespace {
            kind,
            id,
            parent: 0,
            owner: 0,
            net_id: None,
            uid: 0,
            user: "root".into(),
            is_ghost: false,
        };
        let process = command.map(|command| Process {
            pid: 7,
            uid: 1000,
            user: "core".into(),
            command: command.into(),
            ..Process::default()
        });
        Row { namespace, nprocs, process, parent: None }
    }

    fn rows() -> Vec<Row> {
        let mut rows = vec![
            row(Kind::Net, 4_026_531_840, 90, Some("init")),
            row(Kind::Net, 4_026_532_000, 1, Some("sleep 600")),
            row(Kind::Mount, 5, 0, None),
        ];
        rows[1].parent = Some(0);
        rows[2].parent = Some(1);
        rows
    }

    fn kept(filter: &str) -> Vec<u64> {
        let filter: Filter = filter.parse().unwrap_or_else(|e| panic!("{filter}: {e}"));
        let kept = filter.apply(rows(), &Snapshot::default());
        kept.iter().map(|row| row.namespace.id).collect()
    }

    #[test]
    fn expressions_choose_rows() {
        const INIT: u64 = 4_026_531_840;
        const NAP: u64 = 4_026_532_000;
        for (filter, expected) in [
            ("NPROCS > 1", &[INIT][..]),
            ("nprocs<=1", &[NAP, 5]),
            ("NPROCS == 1", &[NAP]),
            ("NPROCS ne 1 and TYPE eq 'net'", &[INIT]),
            ("TYPE == \"mnt\" || COMMAND =~ '^sl.*0$'", &[NAP, 5]),
            ("COMMAND !~ 'init'", &[NAP, 5]),
            ("!(TYPE == 'net')", &[5]),
            ("not PID", &[5]),
            ("PID && NPROCS lt 1K", &[INIT, NAP]),
            ("NPROCS ge 0x5a", &[INIT]),
            ("NS == '4026532000'", &[NAP]),
            ("USER == 'core' && (NPROCS > 50 || NPROCS < 0)", &[INIT]),
            ("TYPE == 'net' || TYPE == 'mnt' && NPROCS > 5", &[INIT, NAP]),
            ("PID != 7", &[5]),
            ("PID < 8", &[INIT, NAP]),
            ("true", &[INIT, NAP, 5]),
            ("1.5 > NPROCS", &[NAP, 5]),
            ("COMMAND == 'a\\'b'", &[]),
        ] {
            assert_eq!(kept(filter), expected, "{filter}");
        }
    }

    #[test]
    fn what_hung_below_a_dropped_row_hangs_below_nothing() {
        let filter: Filter = "NPROCS != 1".parse().unwrap();
        let kept = filter.apply(rows(), &Snapshot::default());
        assert_eq!(kept.iter().map(|row| row.parent).collect::<Vec<_>>(), [None, None]);
        let filter: Filter = "NPROCS < 50".parse().unwrap();
        let kept = filter.apply(rows(), &Snapshot::default());
        assert_eq!(kept.iter().map(|row| row.parent).collect::<Vec<_>>(), [None, Some(0)]);
    }

    #[test]
    fn what_is_no_filter_is_told_with_its_place() {
        for (text, expected) in [
            ("", "an operand is missing at character 1"),
            ("NPROCS >", "an operand is missing at character 9"),
            ("PID == 5 6", "'6' is one too many at character 10"),
            ("X == 5", "unknown column 'X' at character 1"),
            ("(PID", "')' is missing at character 5"),
            ("USER == 'x", "a quote is not closed at character 9"),
            ("PID # 5", "unknown character '#' at character 5"),
            ("PID == 5q", "unknown number '5q' at character 8"),
            ("USER =~ PID", "a text is missing at character 9"),
        ] {
            let error = text.parse::<Filter>().unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        }
        let error = "USER =~ '('".parse::<Filter>().unwrap_err();
        assert!(error.to_string().contains("regular expression"), "{error}");
        let deep = "!".repeat(100_000) + "PID";
        assert!(deep.parse::<Filter>().unwrap_err().to_string().contains("deep"));
    }
}
