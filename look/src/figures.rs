//! Figures as SVG, with no size or colour in their text: both come from the stylesheet. What a figure shows is told in words
//! beside it or in its label: nobody has to see it.
//!
//! Rejected: a crate for charts. The smallest of those that write SVG bring fonts and layout for axes that no page here has.

use maud::{Markup, html};

/// A share of a whole, from 0 to 1.
pub fn meter(label: &str, share: f64) -> Markup {
    let width = format!("{:.2}", share.clamp(0.0, 1.0) * 100.0);
    html! {
        svg.meter viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label=(label) {
            rect.meter-whole x="0" y="0" width="100" height="4" {}
            rect.meter-part x="0" y="0" width=(width) height="4" {}
        }
    }
}

/// One of a row of bars: negative values hang below the line.
pub struct Bar {
    pub value: i64,
    /// For whoever points at it.
    pub title: String,
}

/// Bars side by side, the first one left.
pub fn bars(label: &str, bars: &[Bar]) -> Markup {
    const HEIGHT: f64 = 60.0;
    let highest = bars.iter().map(|bar| bar.value).max().unwrap_or(0).max(0);
    let lowest = bars.iter().map(|bar| bar.value).min().unwrap_or(0).min(0);
    let span = (highest as f64 - lowest as f64).max(1.0);
    let line = HEIGHT * highest as f64 / span;
    let view = format!("0 0 {} {HEIGHT}", bars.len().max(1) * 10);
    html! {
        svg.bars viewBox=(view) preserveAspectRatio="none" role="img" aria-label=(label) {
            @for (at, bar) in bars.iter().enumerate() {
                @let height = (HEIGHT * bar.value.unsigned_abs() as f64 / span).max(0.5);
                @let top = if bar.value < 0 { line } else { line - height };
                rect.bar.bar-below[bar.value < 0] x=(at * 10 + 1) width="8"
                    y=(format!("{top:.2}")) height=(format!("{height:.2}")) { title { (bar.title) } }
            }
        }
    }
}

/// So many alike.
pub struct Cell {
    /// How they look: a class of the stylesheet.
    pub class: &'static str,
    pub count: u64,
    pub title: String,
}

/// So many are drawn of one figure; `cells` says how many more there are.
const MOST_CELLS: u64 = 240;
const COLUMNS: u64 = 12;

/// A field of small cells, one for each of many things. `None` is told of those that are not drawn when there are none.
pub fn cells(label: &str, kinds: &[Cell]) -> Markup {
    let all: u64 = kinds.iter().map(|kind| kind.count).sum();
    let drawn = all.min(MOST_CELLS);
    let rows = drawn.div_ceil(COLUMNS).max(1);
    let each = kinds
        .iter()
        .flat_map(|kind| (0..kind.count).map(move |_| kind))
        .take(MOST_CELLS as usize);
    html! {
        svg.cells viewBox=(format!("0 0 {} {}", COLUMNS * 10, rows * 10)) role="img" aria-label=(label) {
            @for (at, kind) in (0u64..).zip(each) {
                circle class=(kind.class) cx=(at % COLUMNS * 10 + 5) cy=(at / COLUMNS * 10 + 5) r="3.5" {
                    title { (kind.title) }
                }
            }
        }
        @if all > drawn { p.quiet { "and " (super::count(all - drawn)) " more" } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_drawn_in_part_and_counted_in_full() {
        let kind = |count| Cell {
            class: "active",
            count,
            title: "a <b>".to_owned(),
        };
        let crowd = cells("nodes", &[kind(1_000_000_000), kind(5)]).into_string();
        assert_eq!(crowd.matches("<circle").count() as u64, MOST_CELLS);
        assert!(crowd.contains("and 999,999,765 more"), "{crowd}");
        assert!(!crowd.contains("<b>"));
        assert!(cells("none", &[]).into_string().contains("0 0 120 10"));
    }

    #[test]
    fn bars_below_the_line_hang_from_it() {
        let bar = |value| Bar {
            value,
            title: String::new(),
        };
        let drawn = bars("pay", &[bar(30), bar(-30), bar(i64::MIN), bar(i64::MAX)]).into_string();
        assert_eq!(drawn.matches("bar-below").count(), 2);
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"));
        let none = bars("none", &[]).into_string();
        assert!(none.contains("0 0 10 60"), "{none}");
        let half = meter("half", 0.5).into_string();
        assert!(half.contains("width=\"50.00\""));
        assert!(meter("odd", f64::NAN).into_string().contains("<svg"));
    }
}
