//! How long objects are kept where their bucket says so.

use jiff::{SignedDuration, Timestamp};
use model::bucket_rules::LifecycleRule;

/// Whether an object that came to be then is to go now.
pub fn is_due(rules: &[LifecycleRule], key: &str, since: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(since);
    let mut rules = rules.iter().filter(|rule| rule.enabled);
    rules.any(|rule| {
        let kept = SignedDuration::from_hours(24 * i64::from(rule.days));
        key.starts_with(&rule.prefix) && age >= kept
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_goes_after_the_days_of_a_rule_that_is_for_it() {
        let rule = |prefix: &str, days, enabled| LifecycleRule {
            id: None,
            prefix: prefix.to_owned(),
            days,
            enabled,
        };
        let rules = [
            rule("log/", 2, true),
            rule("", 10, true),
            rule("a", 1, false),
        ];
        let since = Timestamp::UNIX_EPOCH;
        for (key, hours, due) in [
            ("log/a", 47, false),
            ("log/a", 48, true),
            ("a", 48, false),
            ("a", 239, false),
            ("a", 240, true),
        ] {
            let now = since + SignedDuration::from_hours(hours);
            assert_eq!(is_due(&rules, key, since, now), due, "{key} {hours}");
        }
    }
}
