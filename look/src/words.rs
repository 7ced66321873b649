//! Amounts, sizes and times as people read them. The exact value stands beside them, in a title, wherever a page shows one.

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use proto::MicroCredits;

/// `1.4 GB`: powers of 1000, as prices are.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut rest = bytes as f64 / 1000.0;
    let mut unit = 0;
    // What would be rounded to 1000 is 1 of the next.
    while rest >= 999.5 && unit + 1 < UNITS.len() {
        rest /= 1000.0;
        unit += 1;
    }
    match rest < 9.95 {
        true => format!("{rest:.1} {}", UNITS[unit]),
        false => format!("{rest:.0} {}", UNITS[unit]),
    }
}

/// `12,345`
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Credits as they are, to the last micro-credit.
pub fn credits(amount: MicroCredits) -> String {
    let text = amount.to_string();
    let (sign, text) = text
        .strip_prefix('-')
        .map_or(("", &*text), |text| ("−", text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = count(whole.parse().unwrap_or(0));
    match fraction {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

/// Parts per million as per cent, with two decimals where they say something.
pub fn percent(ppm: u32) -> String {
    match ppm % 10_000 {
        0 => format!("{} %", ppm / 10_000),
        rest => format!("{}.{:02} %", ppm / 10_000, rest / 100),
    }
}

/// `3 min`, `5 h`, `12 days`: the largest unit of which there are two, or one.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", count(seconds / 86_400)),
    }
}

/// `5 min ago`, and the moment itself for whoever points at it.
pub fn ago(at: Timestamp, now: Timestamp) -> Markup {
    let passed = now.duration_since(at);
    let text = if passed >= SignedDuration::from_secs(5) {
        format!("{} ago", duration(passed.as_secs().unsigned_abs()))
    } else if passed > SignedDuration::from_secs(-5) {
        "just now".to_owned()
    } else {
        format!("in {}", duration(passed.as_secs().unsigned_abs()))
    };
    html! { time datetime=(at) title=(moment(at)) { (text) } }
}

/// `2026-11-30 14:05 UTC`: a server does not know where its reader is.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// `2026-11-30`
pub fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// The beginning of an id or a digest.
pub fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_of_three_digits_at_most() {
        for (size, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_950, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (4_194_304, "4.2 MB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn large_counts_are_in_groups() {
        let shown = [0, 999, 1000, 1_234_567].map(count);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn credits_lose_nothing() {
        let shown = |amount| credits(MicroCredits::new(amount));
        assert_eq!(shown(1_234_567_000_001), "1,234,567.000001");
        assert_eq!(shown(-246), "−0.000246");
        assert_eq!(shown(0), "0");
    }

    #[test]
    fn times_are_told_from_now() {
        let now = Timestamp::UNIX_EPOCH;
        let told = |seconds: i64| {
            let text = ago(now - SignedDuration::from_secs(seconds), now).into_string();
            text.split(['>', '<']).nth(2).unwrap().to_owned()
        };
        assert_eq!(told(0), "just now");
        assert_eq!(told(90), "90 s ago");
        assert_eq!(told(7_200), "2 h ago");
        assert_eq!(told(-3_600), "in 60 min");
        assert_eq!(percent(999_950), "99.99 %");
        assert_eq!(percent(1_000_000), "100 %");
    }
}
