//! Rows as lines, with the widths of libsmartcols.

use std::fmt::Write;

use super::{Column, Format};

/// The cells of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub cells: Vec<String>,
    /// The line above in the tree, an earlier one.
    pub parent: Option<usize>,
}

/// Cells apart by one blank; blanks in them are written as `\x20`.
pub fn raw(lines: &[Line], format: &Format, tree: Option<usize>) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    if format.headings {
        let names: Vec<&str> = format.columns.iter().map(|column| column.name()).collect();
        text = names.join(" ") + "\n";
    }
    let shape = Shape::of(lines);
    for at in shape.order() {
        let (first, _) = shape.drawn(lines, at, format);
        let cell = |(column, cell): (usize, &String)| {
            let art = if Some(column) == tree { first.as_str() } else { "" };
            without_blanks(&format!("{art}{cell}"))
        };
        let cells: Vec<String> = lines[at].cells.iter().enumerate().map(cell).collect();
        text += &(cells.join(" ") + "\n");
    }
    text
}

/// Columns as wide as they need to be; in a terminal the command is cut.
pub fn aligned(lines: &[Line], format: &Format, tree: Option<usize>) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let shape = Shape::of(lines);
    let row = |at| pieces(&lines[at], &shape.drawn(lines, at, format), format, tree);
    let rows: Vec<Vec<Vec<String>>> = shape.order().into_iter().map(row).collect();
    let widths = widths(&rows, format);
    let mut text = String::new();
    if format.headings {
        let names: Vec<String> = format.columns.iter().map(|c| c.name().to_owned()).collect();
        put(&mut text, &names, &widths, format, tree);
    }
    for row in &rows {
        let height = row.iter().map(Vec::len).max().unwrap_or(1);
        for nth in 0..height {
            let piece = |cell: &Vec<String>| cell.get(nth).cloned().unwrap_or_default();
            put(&mut text, &row.iter().map(piece).collect::<Vec<_>>(), &widths, format, tree);
        }
    }
    text
}

/// What hangs below what.
pub struct Shape {
    pub tops: Vec<usize>,
    /// Of each line.
    pub below: Vec<Vec<usize>>,
}

impl Shape {
    pub fn of(lines: &[Line]) -> Self {
        let mut shape = Self { tops: Vec::new(), below: vec![Vec::new(); lines.len()] };
        for (at, line) in lines.iter().enumerate() {
            line.parent.map_or(&mut shape.tops, |parent| &mut shape.below[parent]).push(at);
        }
        shape
    }

    /// Lines in the order of the tree.
    fn order(&self) -> Vec<usize> {
        let mut left: Vec<usize> = self.tops.iter().rev().copied().collect();
        let mut order = Vec::new();
        while let Some(at) = left.pop() {
            order.push(at);
            left.extend(self.below[at].iter().rev());
        }
        order
    }

    /// The drawing before a line's text, and before what follows of it.
    fn drawn(&self, lines: &[Line], at: usize, format: &Format) -> (String, String) {
        let [branch, last, beside] = format.art.parts();
        let mut first = String::new();
        let mut inner = if self.below[at].is_empty() { "" } else { beside }.to_owned();
        let mut now = at;
        while let Some(parent) = lines[now].parent {
            let is_last = self.below[parent].last() == Some(&now);
            let through = if is_last { "  " } else { beside };
            let own = if is_last { last } else { branch };
            first.insert_str(0, if now == at { own } else { through });
            inner.insert_str(0, through);
            now = parent;
        }
        (first, inner)
    }
}

/// For each column its pieces, one for each line of output.
fn pieces(
    line: &Line,
    (first, inner): &(String, String),
    format: &Format,
    tree: Option<usize>,
) -> Vec<Vec<String>> {
    let paths = line.cells.iter().zip(&format.columns).filter(|(_, c)| **c == Column::Nsfs);
    let height = paths.map(|(cell, _)| cell.split('\n').count()).max().unwrap_or(1);
    let cell = |(column, cell): (usize, &String)| -> Vec<String> {
        if format.columns[column] == Column::Nsfs {
            return cell.split('\n').map(safe).collect();
        }
        if Some(column) != tree {
            return vec![safe(cell)];
        }
        let rest = std::iter::repeat_n(inner.clone(), height - 1);
        std::iter::once(first.to_owned() + &safe(cell)).chain(rest).collect()
    };
    line.cells.iter().enumerate().map(cell).collect()
}

/// A column is as wide as its widest cell, at least as its heading; one that
/// is not narrower than its heading gets its hint.
fn widths(rows: &[Vec<Vec<String>>], format: &Format) -> Vec<usize> {
    let mut widths = Vec::new();
    let mut least = Vec::new();
    for (at, column) in format.columns.iter().enumerate() {
        let cells = rows.iter().flat_map(|row| row.get(at).into_iter().flatten());
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        let name = if format.headings { column.name().len() } else { 0 };
        let min = name.max(1);
        let hint = column.hint();
        let width = if widest < min {
            if widest == 0 && name == 0 { 0 } else { min }
        } else if widest < hint && min < hint {
            hint
        } else {
            widest
        };
        widths.push(width);
        least.push(min);
    }
    cut(&mut widths, &least, format);
    widths
}

/// The command, which alone may be cut, gives what is too much.
fn cut(widths: &mut [usize], least: &[usize], format: &Format) {
    let Some(limit) = format.width else { return };
    let total = widths.iter().sum::<usize>() + widths.len().saturating_sub(1);
    if let Some(at) = format.columns.iter().position(|column| *column == Column::Command) {
        let less = widths[at].saturating_sub(total.saturating_sub(limit));
        widths[at] = less.max(least[at]).min(widths[at]);
    }
}

fn put(
    text: &mut String,
    cells: &[String],
    widths: &[usize],
    format: &Format,
    tree: Option<usize>,
) {
    let end = cells.len().saturating_sub(1);
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let column = format.columns[at];
        let is_right = column.is_right() && Some(at) != tree;
        let is_cut = column == Column::Command && format.width.is_some();
        let cell: String = if is_cut { cell.chars().take(*width).collect() } else { cell.clone() };
        // Writing to a String cannot fail.
        let _ = match (is_right, at == end) {
            (true, _) if !cell.is_empty() => write!(text, "{cell:>width$}"),
            (_, true) => write!(text, "{cell}"),
            _ => write!(text, "{cell:width$}"),
        };
        text.push_str(if at == end { "\n" } else { " " });
    }
}

/// Control characters as `\x1b`, which the terminal does not take.
fn safe(cell: &str) -> String {
    let mut text = String::new();
    for (at, c) in cell.char_indices() {
        if c.is_control() || cell[at..].starts_with("\\x") {
            hex(&mut text, c);
        } else {
            text.push(c);
        }
    }
    text
}

fn without_blanks(cell: &str) -> String {
    let mut text = String::new();
    for c in cell.chars() {
        if c.is_ascii_graphic() && c != '\\' { text.push(c) } else { hex(&mut text, c) }
    }
    text
}

fn hex(text: &mut String, c: char) {
    for byte in c.to_string().bytes() {
        let _ = write!(text, "\\x{byte:02x}");
    }
}
