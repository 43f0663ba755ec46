//! Plain aligned columns.

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
}
