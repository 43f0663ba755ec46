//! Rows as JSON, in the layout of libsmartcols.

use std::fmt::Write;

use super::Column;
use super::table::{Line, Shape};

/// All of them, those below others inside them.
pub fn render(lines: &[Line], columns: &[Column]) -> String {
    let mut writer = Writer { lines, columns, shape: Shape::of(lines), text: String::new() };
    writer.text.push_str("{\n   \"namespaces\": ");
    let tops = std::mem::take(&mut writer.shape.tops);
    writer.array(&tops, 1);
    writer.text.push_str("\n}\n");
    writer.text
}

struct Writer<'a> {
    lines: &'a [Line],
    columns: &'a [Column],
    shape: Shape,
    text: String,
}

impl Writer<'_> {
    fn array(&mut self, which: &[usize], depth: usize) {
        let indent = "   ".repeat(depth);
        self.text.push_str("[\n");
        for (nth, at) in which.iter().enumerate() {
            let first = || format!("{indent}   {{\n");
            self.text.push_str(&if nth == 0 { first() } else { ",{\n".to_owned() });
            self.object(*at, depth + 2);
            // Writing to a String cannot fail.
            let _ = write!(self.text, "\n{indent}   }}");
        }
        let _ = write!(self.text, "\n{indent}]");
    }

    fn object(&mut self, at: usize, depth: usize) {
        let indent = "   ".repeat(depth);
        let member = |(column, cell): (&Column, &String)| {
            let name = column.name().to_ascii_lowercase();
            format!("{indent}\"{name}\": {}", value(*column, cell))
        };
        let cells = self.columns.iter().zip(&self.lines[at].cells);
        self.text += &cells.map(member).collect::<Vec<_>>().join(",\n");
        let below = std::mem::take(&mut self.shape.below[at]);
        if !below.is_empty() {
            let _ = write!(self.text, ",\n{indent}\"children\": ");
            self.array(&below, depth);
        }
    }
}

fn value(column: Column, cell: &str) -> String {
    if cell.is_empty() {
        "null".to_owned()
    } else if column.is_number() {
        cell.to_owned()
    } else {
        serde_json::Value::from(cell).to_string()
    }
}
