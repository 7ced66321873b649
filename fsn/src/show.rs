//! What is shown while something is done, and what when it is: bars on a terminal, lines of JSON for programs.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use client::OnProgress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

#[derive(Debug)]
pub(crate) struct Show {
    pub is_json: bool,
    /// On a terminal.
    bars: Option<MultiProgress>,
}

impl Show {
    pub(crate) fn new(is_json: bool) -> Self {
        let shows = !is_json && stderr().is_terminal();
        Self {
            is_json,
            bars: shows.then(MultiProgress::new),
        }
    }

    /// A transfer of this name; what it tells goes to `total`, too.
    pub(crate) fn transfer(&self, name: &str, total: &Total) -> OnProgress {
        let (bar, total) = (self.bar(name), total.clone());
        let before = AtomicU64::new(0);
        Arc::new(move |done, length| {
            if let Some(length) = length {
                bar.set_length(length);
            }
            bar.set_position(done);
            let more = done.saturating_sub(before.fetch_max(done, Ordering::Relaxed));
            total.bar.inc(more);
            if length == Some(done) {
                bar.finish_and_clear();
            }
        })
    }

    /// Of several transfers.
    pub(crate) fn total(&self, bytes: u64, files: usize) -> Total {
        let bar = match files > 1 {
            true => self.bar(&format!("{files} files")),
            false => ProgressBar::hidden(),
        };
        bar.set_length(bytes);
        Total { bar }
    }

    fn bar(&self, name: &str) -> ProgressBar {
        let Some(bars) = &self.bars else {
            return ProgressBar::hidden();
        };
        let form = "{msg:28!} {wide_bar} {bytes:>11}/{total_bytes:11} {bytes_per_sec:>12} {eta:>4}";
        let style = ProgressStyle::with_template(form);
        let bar = bars.add(ProgressBar::new(0));
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_message(harmless(name));
        bar
    }

    /// A line for people beside the bars; nothing for programs.
    pub(crate) fn say(&self, line: &str) {
        let line = harmless(line);
        match (&self.bars, self.is_json) {
            (_, true) => {}
            (Some(bars), false) => {
                let _ = bars.println(line);
            }
            (None, false) => eprintln!("{line}"),
        }
    }

    /// A result: the line for people, or the value for programs.
    pub(crate) fn result(&self, line: &str, value: &impl Serialize) -> anyhow::Result<()> {
        self.lines(&[line], value)
    }

    /// The same, of several lines.
    pub(crate) fn lines(
        &self,
        lines: &[impl AsRef<str>],
        value: &impl Serialize,
    ) -> anyhow::Result<()> {
        if self.is_json {
            println!("{}", serde_json::to_string(value)?);
            return Ok(());
        }
        for line in lines {
            println!("{}", harmless(line.as_ref()));
        }
        Ok(())
    }
}

/// A line for people. It may have names in it that somebody else has chosen, and nothing in them is to command the
/// terminal, begin a line of its own, or turn the order of what is read around. Programs read JSON, which has names as they
/// are.
pub(crate) fn harmless(line: &str) -> String {
    let commands = |sign: char| {
        let turns = matches!(
            sign,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        turns || sign.is_control()
    };
    let signs = line.chars();
    signs
        .map(|sign| match commands(sign) {
            true => char::REPLACEMENT_CHARACTER,
            false => sign,
        })
        .collect()
}

#[derive(Debug, Clone)]
pub(crate) struct Total {
    bar: ProgressBar,
}

impl Total {
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_commands_the_terminal() {
        assert_eq!(harmless("Füße 日本 \u{1f600}"), "Füße 日本 \u{1f600}");
        let name = "a\u{1b}]0;title\u{7}\rb\nc\u{9b}2J\u{202e}gpj.exe\u{2066}";
        assert_eq!(
            harmless(name),
            "a\u{fffd}]0;title\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}2J\u{fffd}gpj.exe\u{fffd}"
        );
    }
}
