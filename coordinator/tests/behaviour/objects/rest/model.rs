//! Buckets against a simple model: any keys, writes and deletions in any order, lists with any delimiter and page size,
//! and deletions between pages.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

/// Few letters, so that keys, prefixes and delimiters meet.
fn text(least: usize, most: usize) -> impl Strategy<Value = String> {
    let letters = prop::sample::select(vec!['a', 'b', '/', '+', '%', 'é', '.', '\u{10ffff}']);
    prop::collection::vec(letters, least..=most).prop_map(String::from_iter)
}

#[derive(Debug, Clone)]
enum Step {
    Put(String, u8),
    Delete(String),
    Move(String, String),
    Copy(String, String),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || text(1, 4);
    let step = prop_oneof![
        4 => (key(), any::<u8>()).prop_map(|(key, byte)| Step::Put(key, byte)),
        1 => key().prop_map(Step::Delete),
        1 => (key(), key()).prop_map(|(from, to)| Step::Move(from, to)),
        1 => (key(), key()).prop_map(|(from, to)| Step::Copy(from, to)),
    ];
    prop::collection::vec(step, 0..24)
}

type Model = BTreeMap<String, u8>;

async fn take(shop: &Shop, model: &mut Model, step: Step) {
    let post = |door: &str, from: &str, to: &str| {
        let call = shop.client.post(&format!("/api/v1/buckets/b-1/{door}"));
        let body = json!({"key": from, "to": {"key": to}});
        call.body(body.to_string()).send()
    };
    let found = |status: StatusCode| match status {
        StatusCode::NOT_FOUND => false,
        status => {
            assert!(status.is_success(), "{status}");
            true
        }
    };
    match step {
        Step::Put(key, byte) => {
            shop.stored(&key, &[byte]).await;
            model.insert(key, byte);
        }
        Step::Delete(key) => {
            let deleted = found(shop.delete(&key).await.status);
            assert_eq!(deleted, model.remove(&key).is_some(), "{key:?}");
        }
        Step::Move(from, to) => {
            let moved = found(post("move", &from, &to).await.status);
            let byte = model.remove(&from);
            assert_eq!(moved, byte.is_some(), "{from:?}");
            model.extend(byte.map(|byte| (to, byte)));
        }
        Step::Copy(from, to) => {
            let copied = found(post("copy", &from, &to).await.status);
            let byte = model.get(&from).copied();
            assert_eq!(copied, byte.is_some(), "{from:?}");
            model.extend(byte.map(|byte| (to, byte)));
        }
    }
}

/// A key, or a prefix of several.
type Entry = (String, bool);

fn entries(model: &Model, prefix: &str, delimiter: &str) -> BTreeSet<Entry> {
    let keys = model.keys().filter(|key| key.starts_with(prefix));
    let entry = |key: &String| match key[prefix.len()..].find(delimiter) {
        Some(at) if !delimiter.is_empty() => {
            (key[..prefix.len() + at + delimiter.len()].to_owned(), true)
        }
        _ => (key.clone(), false),
    };
    keys.map(entry).collect()
}

async fn page(shop: &Shop, asked: &BTreeMap<&str, String>) -> (Vec<Entry>, Option<String>) {
    let encode = |text: &String| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let query = asked
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)));
    let page = shop.list(&query.collect::<Vec<_>>().join("&")).await;
    let prefixes = page["prefixes"].as_array().unwrap().iter();
    let prefixes = prefixes.map(|prefix| (prefix.as_str().unwrap().to_owned(), true));
    let keys = keys(&page).into_iter().map(|key| (key.to_owned(), false));
    let next = page["next_after"].as_str().map(str::to_owned);
    (keys.chain(prefixes).collect(), next)
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_bucket_is_what_a_simple_model_of_it_is(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    let mut runner = TestRunner::deterministic();
    let cases = (steps(), text(0, 2), text(0, 2), 1usize..5);
    let mut model = Model::new();
    for _ in 0..12 {
        let (steps, prefix, delimiter, limit) = cases.new_tree(&mut runner).unwrap().current();
        for step in steps {
            take(&shop, &mut model, step).await;
        }
        for (key, byte) in &model {
            assert_eq!(shop.bytes(key).await, [*byte], "{key:?}");
        }
        let expected = entries(&model, &prefix, &delimiter);
        let mut asked = BTreeMap::from([
            ("prefix", prefix.clone()),
            ("delimiter", delimiter.clone()),
            ("limit", limit.to_string()),
        ]);
        let mut listed = Vec::new();
        let mut deleted = BTreeSet::new();
        loop {
            let (found, next) = page(&shop, &asked).await;
            assert!(found.len() <= limit);
            listed.extend(found);
            let Some(next) = next else { break };
            // What comes next goes, and what is behind it still comes.
            let mut doomed = model.range(next.clone()..).map(|(key, _)| key.clone());
            let doomed = doomed.find(|key| !key.starts_with(&next) && key.starts_with(&prefix));
            if let Some(key) = doomed {
                deleted.extend(entries(
                    &Model::from([(key.clone(), 0)]),
                    &prefix,
                    &delimiter,
                ));
                take(&shop, &mut model, Step::Delete(key)).await;
            }
            asked.insert("after", next);
        }
        let found: BTreeSet<Entry> = listed.iter().cloned().collect();
        assert_eq!(found.len(), listed.len(), "twice: {listed:?}");
        let left = entries(&model, &prefix, &delimiter);
        assert!(
            found.is_superset(&left),
            "{found:?} without some of {left:?}"
        );
        let more: Vec<_> = found.difference(&expected).collect();
        assert!(more.is_empty(), "{more:?}");
        let missing: Vec<_> = expected
            .difference(&found)
            .filter(|entry| !deleted.contains(*entry))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
    let last = count(&pool, "SELECT change_seq FROM buckets").await;
    let told = count(&pool, "SELECT count(*) FROM object_changes").await;
    assert_eq!(last, told);
    let files = "SELECT count(*) FROM files f WHERE state = 'ready'
                 AND NOT EXISTS (SELECT FROM object_parts p WHERE p.file_id = f.file_id)";
    assert_eq!(count(&pool, files).await, 0);
    for key in model.keys() {
        shop.delete(key).await.expect(StatusCode::NO_CONTENT);
    }
    assert_eq!(shop.escrow().await, 0);
}
