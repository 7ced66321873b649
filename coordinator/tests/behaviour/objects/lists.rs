//! Lists of objects against a model that looks at every key: any keys, prefix, delimiter and page size.

use std::collections::BTreeSet;

use coordinator::objects::{Objects, buckets, listing};
use model::names::BucketName;
use model::objects::{Bucket, ListEntry};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use rules::listing::{Listing, Start};
use sqlx::PgPool;

use crate::support::Coordinator;

/// Few letters, so that prefixes and delimiters meet; and those at whose ends the next text is not the next letter.
fn text(most: usize) -> impl Strategy<Value = String> {
    let letters = prop::sample::select(vec![
        'a',
        'b',
        '/',
        '+',
        '%',
        ' ',
        'é',
        '\u{7f}',
        '\u{d7ff}',
        '\u{e000}',
        '\u{ffff}',
        '\u{10ffff}',
    ]);
    prop::collection::vec(letters, 0..=most).prop_map(String::from_iter)
}

async fn bucket_of(coordinator: &Coordinator, name: &str) -> Bucket {
    let (user, _) = coordinator.user().await;
    let name = BucketName::try_from(name.to_owned()).unwrap();
    buckets::create(&coordinator.app.objects, user, &name, super::PLAIN)
        .await
        .unwrap()
}

/// Latest versions, and before some of them a marker.
async fn set(pool: &PgPool, bucket: &Bucket, keys: &BTreeSet<String>, deleted: &BTreeSet<String>) {
    sqlx::query("DELETE FROM objects WHERE bucket_id = $1")
        .bind(bucket.id.as_uuid())
        .execute(pool)
        .await
        .unwrap();
    for (keys, is_marker) in [(keys, false), (deleted, true)] {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        sqlx::query(
            "INSERT INTO objects (bucket_id, key, version_id, is_latest, is_marker, is_null, etag, content_type,
                                  change_seq, created_at)
             SELECT $1, key, gen_random_uuid(), true, $3, true, CASE WHEN NOT $3 THEN 'x' END, 'a/b', 1, now()
             FROM unnest($2::text[]) AS key",
        )
        .bind(bucket.id.as_uuid())
        .bind(keys)
        .bind(is_marker)
        .execute(pool)
        .await
        .unwrap();
    }
}

fn expected(keys: &BTreeSet<String>, asked: &Listing) -> Vec<(String, bool)> {
    let mut entries = Vec::new();
    for key in keys.iter().filter(|key| key.starts_with(&asked.prefix)) {
        let entry = match asked.folder(key) {
            Some(folder) => (folder.to_owned(), true),
            None => (key.clone(), false),
        };
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    entries
}

async fn listed(objects: &Objects, bucket: &Bucket, mut asked: Listing) -> Vec<(String, bool)> {
    let mut entries = Vec::new();
    loop {
        let page = listing::keys(objects, bucket, &asked).await.unwrap();
        assert!(page.entries.len() as u32 <= asked.limit);
        entries.extend(page.entries.into_iter().map(|entry| match entry {
            ListEntry::Object(version) => (version.key, false),
            ListEntry::Prefix(prefix) => (prefix, true),
        }));
        match page.next {
            Some(next) => asked.start = next,
            None => return entries,
        }
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn pages_of_any_size_bring_every_key_and_folder_once_and_in_order(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let bucket = bucket_of(&coordinator, "listed").await;
    let mut runner = TestRunner::deterministic();
    let cases = (
        prop::collection::btree_set(text(6).prop_filter("a key", |key| !key.is_empty()), 0..40),
        prop::collection::btree_set(text(6).prop_filter("a key", |key| !key.is_empty()), 0..10),
        text(2),
        text(2),
        1u32..6,
    );
    let runs = Config::default().cases.min(150);
    for _ in 0..runs {
        let case = cases.new_tree(&mut runner).unwrap().current();
        let (keys, mut deleted, prefix, delimiter, limit) = case;
        deleted.retain(|key| !keys.contains(key));
        set(&pool, &bucket, &keys, &deleted).await;
        let asked = Listing {
            prefix,
            delimiter,
            start: Start::beginning(),
            limit,
        };
        let expected = expected(&keys, &asked);
        let listed = listed(&coordinator.app.objects, &bucket, asked.clone()).await;
        assert_eq!(listed, expected, "{asked:?} of {keys:?}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn all_versions_are_listed_whatever_the_pages_are(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let bucket = bucket_of(&coordinator, "versions").await;
    sqlx::query(
        "INSERT INTO objects (bucket_id, key, version_id, is_latest, is_marker, is_null, etag, content_type,
                              change_seq, created_at)
         SELECT $1, format('%s/%s', n % 4, n % 7), gen_random_uuid(), n >= 72, n % 5 = 0, false,
                CASE WHEN n % 5 <> 0 THEN 'x' END, 'a/b', n, now()
         FROM generate_series(1, 99) AS n",
    )
    .bind(bucket.id.as_uuid())
    .execute(&pool)
    .await
    .unwrap();
    let all: Vec<(String, i64)> =
        sqlx::query_as("SELECT key, change_seq FROM objects ORDER BY key, change_seq DESC")
            .fetch_all(&pool)
            .await
            .unwrap();
    for limit in [1, 2, 7, 1000] {
        let (mut found, mut behind) = (Vec::new(), None);
        let mut asked = Listing {
            start: Start::beginning(),
            limit,
            ..Listing::default()
        };
        loop {
            let objects = &coordinator.app.objects;
            let page = listing::versions(objects, &bucket, &asked, behind)
                .await
                .unwrap();
            found.extend(page.entries.into_iter().map(|entry| match entry {
                ListEntry::Object(version) => version.key,
                ListEntry::Prefix(prefix) => panic!("{prefix}"),
            }));
            match page.next {
                Some(next) => (asked.start, behind) = (next.start, next.behind),
                None => break,
            }
        }
        let expected: Vec<&String> = all.iter().map(|(key, _)| key).collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{limit}");
    }
    let folded = Listing {
        delimiter: "/".to_owned(),
        start: Start::beginning(),
        limit: 3,
        ..Listing::default()
    };
    let page = listing::versions(&coordinator.app.objects, &bucket, &folded, None)
        .await
        .unwrap();
    let folders: Vec<_> = page
        .entries
        .iter()
        .map(|entry| match entry {
            ListEntry::Prefix(prefix) => prefix.as_str(),
            ListEntry::Object(version) => panic!("{}", version.key),
        })
        .collect();
    assert_eq!(folders, ["0/", "1/", "2/"]);
    let next = Listing {
        start: page.next.unwrap().start,
        ..folded
    };
    let page = listing::versions(&coordinator.app.objects, &bucket, &next, None)
        .await
        .unwrap();
    assert_eq!((page.entries.len(), page.next.is_none()), (1, true));
}
