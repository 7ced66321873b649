//! What the honest user noticed, and what the attackers got.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::{Table, presets};
use serde::Serialize;

use super::Attack;
use super::honest::Done;
use super::tally::Tally;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    seconds: f64,
    p99_limit_ms: f64,
    honest: Vec<Work>,
    attacks: BTreeMap<Attack, BTreeMap<String, u64>>,
    /// What is not as it must be; empty when all is well.
    pub broken: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Work {
    what: &'static str,
    done: usize,
    failed: usize,
    p50_ms: f64,
    p99_ms: f64,
}

impl Report {
    pub(super) fn new(
        length: Duration,
        p99_limit_ms: f64,
        done: Vec<Done>,
        tallies: &[(Attack, Tally)],
    ) -> Self {
        let mut broken = Vec::new();
        let mut honest = Vec::new();
        for done in done {
            let work = Work {
                what: done.what,
                done: done.took.len(),
                failed: done.failures.len(),
                p50_ms: quantile_ms(&done.took, 0.5),
                p99_ms: quantile_ms(&done.took, 0.99),
            };
            if let Some(first) = done.failures.first() {
                broken.push(format!(
                    "{}: {} failed, the first: {first}",
                    done.what, work.failed
                ));
            }
            if done.is_transfer && work.p99_ms >= p99_limit_ms {
                broken.push(format!(
                    "{}: p99 is {:.0} ms, and may be {p99_limit_ms:.0}",
                    done.what, work.p99_ms
                ));
            }
            honest.push(work);
        }
        for (attack, tally) in tallies {
            broken.extend(tally.what_broke().map(|what| format!("{attack:?}: {what}")));
        }
        Self {
            seconds: length.as_secs_f64(),
            p99_limit_ms,
            honest,
            attacks: tallies
                .iter()
                .map(|(attack, tally)| (*attack, tally.answers()))
                .collect(),
            broken,
        }
    }
}

/// 0 of nothing.
fn quantile_ms(took: &[Duration], of: f64) -> f64 {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() as f64 * of).ceil() as usize;
    let value = sorted.get(at.saturating_sub(1));
    value.map_or(0.0, |value| value.as_secs_f64() * 1000.0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:.0} s of siege\n", self.seconds)?;
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["the honest user", "done", "failed", "p50 ms", "p99 ms"]);
        for work in &self.honest {
            table.add_row([
                work.what.to_owned(),
                work.done.to_string(),
                work.failed.to_string(),
                format!("{:.0}", work.p50_ms),
                format!("{:.0}", work.p99_ms),
            ]);
        }
        writeln!(f, "{table}\n")?;
        for (attack, answers) in &self.attacks {
            let answers: Vec<String> = answers
                .iter()
                .map(|(answer, count)| format!("{answer} × {count}"))
                .collect();
            writeln!(f, "{attack:?}: {}", answers.join(", "))?;
        }
        for what in &self.broken {
            writeln!(f, "\nBROKEN: {what}")?;
        }
        Ok(())
    }
}
