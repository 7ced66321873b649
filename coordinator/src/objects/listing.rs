//! Lists of keys and of versions, a page at a time.

use model::ids::VersionId;
use model::objects::{Bucket, ListEntry, ListPage, ObjectVersion};
use rules::listing::{Listing, Start, VersionsStart};

use super::tables::lists;
use super::{ObjectError, Objects};

/// The most that one page has.
pub const LONGEST_PAGE: u32 = 1000;

const fn nothing<N>() -> ListPage<N> {
    ListPage {
        entries: Vec::new(),
        next: None,
    }
}

/// NUL is in no key, and in no text that Postgres takes.
fn is_in_no_key(asked: &Listing) -> bool {
    asked.prefix.contains('\0') || asked.start.text.contains('\0')
}

/// Latest versions.
pub async fn keys(
    objects: &Objects,
    bucket: &Bucket,
    asked: &Listing,
) -> Result<ListPage<Start>, ObjectError> {
    let limit = asked.limit.min(LONGEST_PAGE);
    if limit == 0 || is_in_no_key(asked) {
        return Ok(nothing());
    }
    let bounds = asked.bounds();
    let within = |key: &str| bounds.before.as_deref().is_none_or(|before| key < before);
    let mut connection = objects.db.acquire().await?;
    let mut entries = if asked.delimiter.is_empty() || asked.delimiter.contains('\0') {
        let found = lists::keys(&mut connection, bucket.id, &bounds, i64::from(limit) + 1).await?;
        let found = found.into_iter().take_while(|version| within(&version.key));
        found.map(ListEntry::Object).collect()
    } else {
        let folding = (asked.prefix.as_str(), asked.delimiter.as_str());
        let most = limit as i32 + 1;
        lists::folded(&mut connection, bucket.id, folding, &bounds, most).await?
    };
    let next = match entries.len() > limit as usize {
        true => {
            entries.truncate(limit as usize);
            entries.last().and_then(behind)
        }
        false => None,
    };
    Ok(ListPage { entries, next })
}

fn behind(entry: &ListEntry) -> Option<Start> {
    match entry {
        ListEntry::Object(version) => Some(Start::after_key(&version.key)),
        ListEntry::Prefix(prefix) => Start::after_prefix(prefix),
    }
}

/// All versions, those of a key together, the newest first.
pub async fn versions(
    objects: &Objects,
    bucket: &Bucket,
    asked: &Listing,
    behind: Option<VersionId>,
) -> Result<ListPage<VersionsStart>, ObjectError> {
    let limit = asked.limit.min(LONGEST_PAGE) as usize;
    if limit == 0 || is_in_no_key(asked) {
        return Ok(nothing());
    }
    let mut connection = objects.db.acquire().await?;
    let mut place = VersionsStart {
        start: asked.start.clone(),
        behind,
    };
    let mut entries: Vec<ListEntry> = Vec::new();
    // Each turn ends with a folder, behind all of which the next one begins, or with the page.
    // Few rows at a time where most are passed over.
    let most = match asked.delimiter.is_empty() {
        true => limit + 1,
        false => 100,
    };
    loop {
        let turn = Listing {
            start: place.start.clone(),
            ..asked.clone()
        };
        let bounds = turn.bounds();
        let wanted = (limit - entries.len() + 1).min(most) as i64;
        let behind = place.behind.filter(|_| bounds.from == place.start.text);
        let found = lists::versions(&mut connection, bucket.id, &bounds, behind, wanted).await?;
        let mut is_last = (found.len() as i64) < wanted;
        let mut folded = None;
        for version in found {
            if bounds
                .before
                .as_deref()
                .is_some_and(|before| version.key.as_str() >= before)
            {
                is_last = true;
                break;
            }
            if entries.len() == limit {
                return Ok(ListPage {
                    entries,
                    next: Some(place),
                });
            }
            if let Some(folder) = asked.folder(&version.key) {
                folded = Some(folder.to_owned());
                break;
            }
            place = after(&version);
            entries.push(ListEntry::Object(version));
        }
        match folded {
            Some(folder) => {
                let next = Start::after_prefix(&folder);
                entries.push(ListEntry::Prefix(folder));
                match next {
                    Some(start) => {
                        place = VersionsStart {
                            start,
                            behind: None,
                        }
                    }
                    None => {
                        return Ok(ListPage {
                            entries,
                            next: None,
                        });
                    }
                }
            }
            None if is_last => {
                return Ok(ListPage {
                    entries,
                    next: None,
                });
            }
            None => {}
        }
    }
}

fn after(version: &ObjectVersion) -> VersionsStart {
    VersionsStart {
        start: Start::after_key(&version.key),
        behind: Some(version.id),
    }
}
