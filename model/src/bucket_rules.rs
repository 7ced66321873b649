//! What the owner of a bucket sets for it.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketRules {
    pub cors: Vec<CorsRule>,
    pub lifecycle: Vec<LifecycleRule>,
    /// Anybody may read keys that begin with one of these.
    pub public_read: Vec<String>,
    /// What is read where a public key would end with a slash.
    pub index_document: Option<String>,
}

impl BucketRules {
    pub fn is_public(&self, key: &str) -> bool {
        let mut prefixes = self.public_read.iter();
        prefixes.any(|prefix| key.starts_with(prefix.as_str()))
    }
}

/// One of them, set anew; others stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RulesChange {
    Cors(Vec<CorsRule>),
    Lifecycle(Vec<LifecycleRule>),
    PublicRead(Vec<String>),
    IndexDocument(Option<String>),
}

/// Which pages may ask for objects through a browser, and how. Origins and headers may have one `*` each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorsRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub origins: Vec<String>,
    /// GET, HEAD, PUT, POST, DELETE
    pub methods: Vec<String>,
    /// That a page may send.
    #[serde(default)]
    pub headers: Vec<String>,
    /// That a page may read.
    #[serde(default)]
    pub exposed: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u32>,
}

/// Objects whose keys begin so are deleted after so many days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub prefix: String,
    pub days: u32,
    pub enabled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRules(&'static str);

const MOST_CORS: usize = 100;
const MOST_LIFECYCLE: usize = 100;
const MOST_PUBLIC: usize = 16;
/// Texts of one CORS rule.
const MOST_TEXTS: usize = 100;
const LONGEST_TEXT: usize = 255;
const LONGEST_PREFIX: usize = 2048;
/// A hundred years.
const MOST_DAYS: u32 = 36_525;

impl RulesChange {
    pub fn check(&self) -> Result<(), InvalidRules> {
        match self {
            Self::Cors(rules) => check_cors(rules),
            Self::Lifecycle(rules) => check_lifecycle(rules),
            Self::PublicRead(prefixes) if prefixes.len() > MOST_PUBLIC => {
                Err(InvalidRules("a bucket has at most 16 public prefixes"))
            }
            Self::PublicRead(prefixes) => prefixes.iter().try_for_each(|prefix| is_prefix(prefix)),
            Self::IndexDocument(Some(name)) => {
                match (1..=LONGEST_TEXT).contains(&name.len()) && !name.contains(['/', '\0']) {
                    true => Ok(()),
                    false => Err(InvalidRules(
                        "an index document is a name of up to 255 bytes without a slash, like index.html",
                    )),
                }
            }
            Self::IndexDocument(None) => Ok(()),
        }
    }
}

fn is_prefix(prefix: &str) -> Result<(), InvalidRules> {
    match prefix.len() <= LONGEST_PREFIX && !prefix.contains('\0') {
        true => Ok(()),
        false => Err(InvalidRules("a prefix is the beginning of a key")),
    }
}

fn check_lifecycle(rules: &[LifecycleRule]) -> Result<(), InvalidRules> {
    if rules.len() > MOST_LIFECYCLE {
        return Err(InvalidRules("a bucket has at most 100 lifecycle rules"));
    }
    for rule in rules {
        is_prefix(&rule.prefix)?;
        is_short(rule.id.as_slice())?;
        if !(1..=MOST_DAYS).contains(&rule.days) {
            return Err(InvalidRules("a lifecycle rule has 1 to 36525 days"));
        }
    }
    Ok(())
}

fn is_short(texts: &[String]) -> Result<(), InvalidRules> {
    let fits = |text: &String| text.len() <= LONGEST_TEXT && !text.contains(char::is_control);
    match texts.len() <= MOST_TEXTS && texts.iter().all(fits) {
        true => Ok(()),
        false => Err(InvalidRules(
            "a rule has at most 100 texts of a kind, of up to 255 printable bytes each",
        )),
    }
}

fn check_cors(rules: &[CorsRule]) -> Result<(), InvalidRules> {
    if rules.len() > MOST_CORS {
        return Err(InvalidRules("a bucket has at most 100 CORS rules"));
    }
    for rule in rules {
        is_short(rule.id.as_slice())?;
        for texts in [&rule.origins, &rule.methods, &rule.headers, &rule.exposed] {
            is_short(texts)?;
        }
        if rule.origins.is_empty() || rule.methods.is_empty() {
            return Err(InvalidRules("a CORS rule names origins and methods"));
        }
        let is_method =
            |method: &String| matches!(method.as_str(), "GET" | "HEAD" | "PUT" | "POST" | "DELETE");
        if !rule.methods.iter().all(is_method) {
            return Err(InvalidRules(
                "methods of a CORS rule are GET, HEAD, PUT, POST and DELETE",
            ));
        }
        let mut patterns = rule.origins.iter().chain(&rule.headers);
        if patterns.any(|pattern| pattern.matches('*').count() > 1) {
            return Err(InvalidRules("an origin or a header has at most one `*`"));
        }
        if rule.exposed.iter().any(|header| header.contains('*')) {
            return Err(InvalidRules("exposed headers are named one by one"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origin: &str, method: &str) -> RulesChange {
        RulesChange::Cors(vec![CorsRule {
            origins: vec![origin.to_owned()],
            methods: vec![method.to_owned()],
            ..CorsRule::default()
        }])
    }

    fn lifecycle(days: u32) -> RulesChange {
        RulesChange::Lifecycle(vec![LifecycleRule {
            id: None,
            prefix: String::new(),
            days,
            enabled: true,
        }])
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        for sound in [
            cors("*", "GET"),
            cors("https://*.example.com", "DELETE"),
            lifecycle(1),
            RulesChange::PublicRead(vec![String::new()]),
            RulesChange::IndexDocument(Some("index.html".to_owned())),
        ] {
            assert_eq!(sound.check(), Ok(()), "{sound:?}");
        }
        for odd in [
            cors("https://*.*", "GET"),
            cors("*", "TRACE"),
            cors(&"x".repeat(256), "GET"),
            RulesChange::Cors(vec![CorsRule::default()]),
            lifecycle(0),
            lifecycle(36_526),
            RulesChange::PublicRead(vec![String::new(); 17]),
            RulesChange::PublicRead(vec!["a\0".to_owned()]),
            RulesChange::IndexDocument(Some(String::new())),
            RulesChange::IndexDocument(Some("a/b".to_owned())),
        ] {
            assert!(odd.check().is_err(), "{odd:?}");
        }
    }

    #[test]
    fn what_is_public_begins_with_a_public_prefix() {
        let mut rules = BucketRules::default();
        assert!(!rules.is_public("a"));
        rules.public_read = vec!["site/".to_owned()];
        assert!(rules.is_public("site/a") && !rules.is_public("site") && !rules.is_public("a"));
        rules.public_read.push(String::new());
        assert!(rules.is_public("a"));
    }
}
