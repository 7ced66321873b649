//! What commands print on standard output: tables for people, JSON for programs.

use anyhow::Result;
use comfy_table::presets::{NOTHING, UTF8_HORIZONTAL_ONLY};
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

/// Indented, and a line's end.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A table with a ruled head.
pub fn ruled_table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(head);
    table
}

/// Columns and no lines: names with what stands behind them, or a list that programs cut into fields.
pub fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table
}

/// Numbers stand under each other. Columns that the table does not have yet are passed over.
pub fn align_right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_under_each_other() {
        let mut table = ruled_table(["day", "credits"]);
        table.add_row(["1", "10.5"]);
        align_right(&mut table, [1, 7]);
        let shown = table.to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(
            lines
                .iter()
                .any(|line| line.trim_end().ends_with("credits"))
        );
        assert!(
            lines
                .iter()
                .any(|line| line.trim_end().ends_with("   10.5")),
            "{shown}"
        );
        assert!(plain_table().to_string().is_empty());
    }
}
