//! How keys are listed: in byte order of their UTF-8, those that begin with a prefix, and where a delimiter is given, what
//! lies behind its first occurrence folded into one entry, as folders are.
//!
//! A page ends behind its last entry, and behind a folded one that is behind all that was folded. So a page's end is a
//! [`Start`] and not a key: `dir/` as a plain key to go on from would bring the folder again.

use model::ids::VersionId;

/// Where a page begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Start {
    pub text: String,
    /// Whether a key that is this very text belongs to the page.
    pub inclusive: bool,
}

impl Start {
    pub fn beginning() -> Self {
        Self {
            text: String::new(),
            inclusive: true,
        }
    }

    /// Behind this key.
    pub fn after_key(key: &str) -> Self {
        Self {
            text: key.to_owned(),
            inclusive: false,
        }
    }

    /// Behind every key that begins so; `None` when no text lies there.
    pub fn after_prefix(prefix: &str) -> Option<Self> {
        successor(prefix).map(|text| Self {
            text,
            inclusive: true,
        })
    }

    /// Behind what a client names, be it a key or a folder that a page ended with.
    pub fn after_marker(marker: &str, prefix: &str, delimiter: &str) -> Option<Self> {
        match folder(marker, prefix, delimiter) {
            Some(folder) if folder == marker => Self::after_prefix(marker),
            _ => Some(Self::after_key(marker)),
        }
    }
}

/// Where a page of all versions begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionsStart {
    pub start: Start,
    /// Behind this version of the key that `start` names.
    pub behind: Option<VersionId>,
}

/// What is asked for. An empty text stands for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub prefix: String,
    pub delimiter: String,
    pub start: Start,
    pub limit: u32,
}

/// The bounds that an index is searched with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    pub from: String,
    /// A key that is `from` itself does not belong to it.
    pub excludes_from: bool,
    /// The first text that does not belong to it; `None` when all behind `from` does.
    pub before: Option<String>,
}

impl Listing {
    pub fn bounds(&self) -> Bounds {
        let (from, excludes_from) = match self.start.text.as_str() < self.prefix.as_str() {
            true => (&self.prefix, false),
            false => (&self.start.text, !self.start.inclusive),
        };
        Bounds {
            from: from.clone(),
            excludes_from,
            before: match self.prefix.as_str() {
                "" => None,
                prefix => successor(prefix),
            },
        }
    }

    /// The folder that the key is listed as, if it is not listed by itself.
    pub fn folder<'a>(&self, key: &'a str) -> Option<&'a str> {
        folder(key, &self.prefix, &self.delimiter)
    }
}

fn folder<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(prefix)?;
    let end = prefix.len() + rest.find(delimiter)? + delimiter.len();
    Some(&key[..end])
}

/// The least text behind every text that begins with `prefix`; `None` when there is none. Characters sort as their UTF-8
/// does, so it is the last one that can be raised, raised by one.
pub fn successor(prefix: &str) -> Option<String> {
    let mut rest = prefix;
    while let Some(last) = rest.chars().next_back() {
        rest = &rest[..rest.len() - last.len_utf8()];
        let next = match last {
            // What lies between are no characters.
            '\u{d7ff}' => Some('\u{e000}'),
            last => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            return Some(format!("{rest}{next}"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Few letters, so that prefixes and delimiters meet; and those at whose ends raising is not adding one.
    fn text(most: usize) -> impl Strategy<Value = String> {
        let letters = prop::sample::select(vec![
            'a',
            'b',
            '/',
            '\u{7f}',
            '\u{d7ff}',
            '\u{e000}',
            '\u{ffff}',
            '\u{10ffff}',
        ]);
        prop::collection::vec(letters, 0..=most).prop_map(String::from_iter)
    }

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
    enum Entry {
        Key(String),
        Folder(String),
    }

    /// One page, by looking at every key.
    fn page(keys: &BTreeSet<String>, asked: &Listing) -> (Vec<Entry>, Option<Start>) {
        let bounds = asked.bounds();
        let mut entries: Vec<Entry> = Vec::new();
        for key in keys {
            let below = *key < bounds.from || (bounds.excludes_from && *key == bounds.from);
            let behind = bounds.before.as_ref().is_some_and(|before| key >= before);
            if below || behind {
                continue;
            }
            let entry = match asked.folder(key) {
                Some(folder) => Entry::Folder(folder.to_owned()),
                None => Entry::Key(key.clone()),
            };
            if entries.last() == Some(&entry) {
                continue;
            }
            if entries.len() as u32 == asked.limit {
                let next = match entries.last() {
                    Some(Entry::Key(key)) => Some(Start::after_key(key)),
                    Some(Entry::Folder(folder)) => Start::after_prefix(folder),
                    None => None,
                };
                return (entries, next);
            }
            entries.push(entry);
        }
        (entries, None)
    }

    #[test]
    fn what_lies_behind_a_prefix() {
        for (prefix, behind) in [
            ("a", Some("b")),
            ("a/", Some("a0")),
            ("a\u{10ffff}", Some("b")),
            ("a\u{d7ff}", Some("a\u{e000}")),
            ("\u{10ffff}\u{10ffff}", None),
            ("", None),
        ] {
            assert_eq!(successor(prefix).as_deref(), behind, "{prefix:?}");
        }
    }

    #[test]
    fn a_marker_that_is_a_folder_is_passed_with_all_in_it() {
        let start = |marker| Start::after_marker(marker, "p/", "/").unwrap();
        assert_eq!(start("p/a/"), Start::after_prefix("p/a/").unwrap());
        assert_eq!(start("p/a/b"), Start::after_key("p/a/b"));
        assert_eq!(start("p/"), Start::after_key("p/"));
        assert_eq!(
            Start::after_marker("a/", "", ""),
            Some(Start::after_key("a/"))
        );
    }

    proptest! {
        #[test]
        fn nothing_lies_between_a_prefix_and_what_is_behind_it(prefix in text(4), other in text(6)) {
            match successor(&prefix) {
                Some(behind) => {
                    prop_assert!(behind > prefix);
                    prop_assert_eq!(
                        other.starts_with(&prefix),
                        other >= prefix && other < behind
                    );
                }
                None => prop_assert_eq!(other.starts_with(&prefix), other >= prefix),
            }
        }

        #[test]
        fn pages_bring_every_entry_once_and_in_order(
            keys in prop::collection::btree_set(text(6), 0..30), prefix in text(2), delimiter in text(2), limit in 1u32..5,
        ) {
            let expected: BTreeSet<Entry> = keys
                .iter()
                .filter(|key| key.starts_with(&prefix))
                .map(|key| match folder(key, &prefix, &delimiter) {
                    Some(folder) => Entry::Folder(folder.to_owned()),
                    None => Entry::Key(key.clone()),
                })
                .collect();
            let mut asked = Listing { prefix, delimiter, start: Start::beginning(), limit };
            let mut listed = Vec::new();
            loop {
                let (entries, next) = page(&keys, &asked);
                prop_assert!(entries.len() as u32 <= limit);
                listed.extend(entries);
                match next {
                    Some(next) => asked.start = next,
                    None => break,
                }
            }
            let text = |entry: &Entry| match entry { Entry::Key(text) | Entry::Folder(text) => text.clone() };
            let texts: Vec<String> = listed.iter().map(text).collect();
            prop_assert!(texts.is_sorted());
            prop_assert_eq!(listed.len(), expected.len());
            prop_assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }
}
