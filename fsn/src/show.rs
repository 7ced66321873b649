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
        bar.set_message(name.to_owned());
        bar
    }

    /// A line for people beside the bars; nothing for programs.
    pub(crate) fn say(&self, line: &str) {
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
        match self.is_json {
            true => println!("{}", serde_json::to_string(value)?),
            false => println!("{line}"),
        }
        Ok(())
    }
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
