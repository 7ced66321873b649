//! What commands print on standard output: tables for people, JSON for programs; and how they say times and numbers.
//!
//! In a terminal a table is no wider than that: long cells go on in the line below. Elsewhere each row is one line, for
//! whoever cuts it into fields. Nothing is coloured, so no colours get into files.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Result;
pub use comfy_table::Table;
use comfy_table::presets::{NOTHING, UTF8_HORIZONTAL_ONLY};
use comfy_table::{CellAlignment, ContentArrangement};
use serde::Serialize;

/// Narrower than this no table can be read anyway.
const LEAST_WIDTH: u16 = 40;

/// Indented, and a line's end.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// How wide the terminal is that standard output goes to; `None` where it goes elsewhere.
pub fn terminal_width() -> Option<u16> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    terminal_size::terminal_size_of(&out).map(|(width, _)| width.0)
}

/// Prints a table as wide as the terminal at most.
pub fn print_table(table: Table) {
    println!("{}", fitted(table, terminal_width()));
}

/// The text of a table in a terminal of this width; `None`: on no terminal.
pub fn fitted(mut table: Table, width: Option<u16>) -> String {
    if let Some(width) = width {
        table.set_width(width.max(LEAST_WIDTH));
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.trim_fmt()
}

/// A length of time in two units at most: "3d 4h", "5m 12s", "7s".
pub fn duration(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let seconds = time.as_secs();
    let Some(first) = UNITS.iter().position(|(length, _)| seconds >= *length) else {
        return "0s".to_owned();
    };
    let mut left = seconds;
    let mut parts = Vec::new();
    for (length, unit) in UNITS.iter().skip(first).take(2) {
        let count = left / length;
        left %= length;
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        }
    }
    parts.join(" ")
}

/// How long ago something was, by clocks that may differ a little.
pub fn ago(now: jiff::Timestamp, at: jiff::Timestamp) -> String {
    let seconds = u64::try_from(now.duration_since(at).as_secs()).unwrap_or(0);
    format!("{} ago", duration(Duration::from_secs(seconds)))
}

/// "1 blob", "2 blobs".
pub fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
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
    fn a_table_is_as_wide_as_the_terminal_and_a_row_is_a_line_elsewhere() {
        let mut table = ruled_table(["node", "why"]);
        let long = "most of its proofs do not come in time ".repeat(6);
        table.add_row(["0192f0c1-2d3e-7f4a-8b5c-6d7e8f901234", long.trim()]);
        let shown = fitted(table.clone(), Some(80));
        assert!(
            shown.lines().all(|line| line.chars().count() <= 80),
            "{shown}"
        );
        assert!(shown.lines().count() > 4, "{shown}");
        let piped = fitted(table, None);
        let row = piped.lines().find(|line| line.contains("0192f0c1"));
        assert!(
            row.is_some_and(|row| row.ends_with("come in time")),
            "{piped}"
        );
        assert!(piped.lines().all(|line| line.trim_end() == line), "{piped}");
    }

    #[test]
    fn times_have_two_units_at_most() {
        let shown = |seconds| duration(Duration::from_secs(seconds));
        let told = [0, 7, 60, 312, 3600, 3605, 86_399, 273_600, 2_592_000].map(shown);
        let should = [
            "0s", "7s", "1m", "5m 12s", "1h", "1h", "23h 59m", "3d 4h", "30d",
        ];
        assert_eq!(told, should);
        let now = jiff::Timestamp::from_second(1000).unwrap();
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        assert_eq!(ago(now, at(910)), "1m 30s ago");
        assert_eq!(ago(now, at(1010)), "0s ago");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(
            [0, 1, 2].map(|n| counted(n, "blob")),
            ["0 blobs", "1 blob", "2 blobs"]
        );
    }

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
