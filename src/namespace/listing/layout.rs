//! How a listing is written, and the cells of it.

use super::table::{self, Line};
use super::{Column, Row, Snapshot, Tree, json};

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    pub columns: Vec<Column>,
    pub headings: bool,
    pub style: Style,
    pub tree: Tree,
    /// Several paths in one line, apart by commas.
    pub nowrap: bool,
    /// How wide a line may be; none: as wide as it has to be.
    pub width: Option<usize>,
    pub art: Art,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Aligned,
    Raw,
    Json,
}

/// What trees are drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Art {
    Ascii,
    Lines,
}

impl Art {
    /// Of a row that others follow, of the last one, and beside rows below.
    pub(super) const fn parts(self) -> [&'static str; 3] {
        match self {
            Self::Ascii => ["|-", "`-", "| "],
            Self::Lines => ["├─", "└─", "│ "],
        }
    }
}

impl Format {
    /// The column that shows what hangs below what, if it is shown.
    fn tree_column(&self) -> Option<usize> {
        let wanted = match self.tree {
            Tree::None => return None,
            Tree::Process => Column::Command,
            Tree::Owner | Tree::Parent => Column::Ns,
        };
        self.columns.iter().position(|column| *column == wanted)
    }
}

/// The rows as text, as libsmartcols writes them.
pub fn render(snapshot: &Snapshot, rows: &[Row], format: &Format) -> String {
    let tree = format.tree_column();
    let line = |(at, row): (usize, &Row)| Line {
        cells: format.columns.iter().map(|column| cell(row, *column, snapshot, format)).collect(),
        parent: row.parent.filter(|parent| tree.is_some() && *parent < at),
    };
    let lines: Vec<Line> = rows.iter().enumerate().map(line).collect();
    match format.style {
        Style::Json => json::render(&lines, &format.columns),
        Style::Raw => table::raw(&lines, format, tree),
        Style::Aligned => table::aligned(&lines, format, tree),
    }
}

fn cell(row: &Row, column: Column, snapshot: &Snapshot, format: &Format) -> String {
    let text = row.text(column, snapshot);
    match (column, format.nowrap) {
        (Column::Nsfs, true) => text.replace('\n', ","),
        _ => text,
    }
}
