//! Plain aligned columns, and times for people.

use jiff::Timestamp;
use serde::Serialize;

use super::template::{Failure, Format, Shape, Template};

/// The options of every list.
#[derive(Debug, Clone, clap::Args)]
pub struct ListOptions {
    /// How to print them: table, json, "table TEMPLATE" or TEMPLATE, a Go
    /// template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub format: String,
    /// Print no header
    #[arg(short, long)]
    pub noheading: bool,
    /// Print one word for each: the name, or the digest
    #[arg(short, long)]
    pub quiet: bool,
}

/// What a template is told about a list.
pub struct Views<'a, T> {
    /// Its elements, as a template sees them.
    pub of: &'a [T],
    pub shape: Shape,
}

impl ListOptions {
    /// Prints `all` as asked: one `word` each, JSON, rows below `header`, or
    /// what a template makes of `views`.
    pub fn print<T: Serialize, V: Serialize>(
        &self,
        all: &[T],
        views: &Views<'_, V>,
        word: fn(&T) -> String,
        header: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> anyhow::Result<()> {
        let template = self.is_template().then(|| Format::parse("list", &self.format));
        // As in podman, a format says more than --quiet.
        if self.quiet && template.is_none() {
            for one in all {
                outln!("{}", word(one));
            }
            return Ok(());
        }
        match template.transpose()? {
            Some(Format::Json) => outln!("{}", serde_json::to_string_pretty(all)?),
            Some(Format::Table(template)) => {
                out!("{}", columns(&template, views, !self.noheading)?);
            }
            Some(Format::Plain(template)) => out!("{}", lines(&template, views)?),
            None => {
                let rows: Vec<_> = all.iter().map(row).collect();
                out!("{}", render((!self.noheading).then_some(header), &rows));
            }
        }
        Ok(())
    }

    fn is_template(&self) -> bool {
        self.format != "table"
    }

    /// Whether people are to read it.
    pub fn is_table(&self) -> bool {
        !self.quiet && !self.is_template()
    }
}

/// What the template makes of each, every one on lines of its own.
pub fn lines<T: Serialize>(template: &Template, views: &Views<'_, T>) -> Result<String, Failure> {
    Ok(template.render_each(views.of, views.shape)?.concat())
}

/// The same laid out in columns, which tabs end.
pub fn columns<T: Serialize>(
    template: &Template,
    views: &Views<'_, T>,
    heading: bool,
) -> Result<String, Failure> {
    let mut text = if heading { template.heading()? } else { String::new() };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&lines(template, views)?);
    let row = |line: &str| line.split('\t').map(str::to_owned).collect();
    let rows: Vec<Vec<String>> = text.lines().map(row).collect();
    Ok(render(None, &rows))
}

/// Lays out rows under their header, columns separated by two spaces or more.
pub fn render(header: Option<&[&str]>, rows: &[Vec<String>]) -> String {
    let header: Option<Vec<String>> =
        header.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    let all: Vec<&Vec<String>> = header.iter().chain(rows).collect();
    let columns = all.iter().map(|row| row.len()).max().unwrap_or(0);
    let width = |column: usize| {
        all.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count())).max()
    };
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let mut text = String::new();
    for row in all {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// `3 hours ago`, as podman words it (`HumanDuration` of docker/go-units).
pub fn ago(time: Option<Timestamp>, now: Timestamp) -> String {
    let Some(time) = time else { return "Never".into() };
    let seconds = (now.as_second() - time.as_second()).max(0);
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    let words = match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".into(),
        (1, ..) => "1 second".into(),
        (_, 0, _) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".into(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".into(),
        (.., 2..48) => format!("{hours} hours"),
        (.., 48..336) => format!("{} days", hours / 24),
        (.., 336..1440) => format!("{} weeks", hours / (24 * 7)),
        (.., 1440..17520) => format!("{} months", hours / (24 * 30)),
        _ => format!("{} years", seconds / (365 * 86400)),
    };
    format!("{words} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".into(), "long cell".into()], vec!["bbb".into(), "c".into()]];
        assert_eq!(render(Some(&["NAME", "X"]), &rows), "NAME  X\na     long cell\nbbb   c\n");
        assert_eq!(render(Some(&["NAME"]), &[]), "NAME\n");
        assert_eq!(render(None, &[]), "");
    }

    #[test]
    fn times_are_told_in_their_largest_unit() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let before = |seconds: i64| ago(Timestamp::from_second(1_000_000_000 - seconds).ok(), now);
        for (seconds, words) in [
            (0, "Less than a second ago"),
            (1, "1 second ago"),
            (59, "59 seconds ago"),
            (60, "About a minute ago"),
            (3599, "59 minutes ago"),
            (3600, "About an hour ago"),
            (5400, "2 hours ago"),
            (47 * 3600, "47 hours ago"),
            (2 * 86400, "2 days ago"),
            (20 * 86400, "2 weeks ago"),
            (70 * 86400, "2 months ago"),
            (3 * 365 * 86400, "3 years ago"),
        ] {
            assert_eq!(before(seconds), words);
        }
        assert_eq!(ago(None, now), "Never");
    }
}
