//! Objects: a key points to the old bytes or to the new ones, whole, and every version is paid for exactly as long as it is
//! there.

mod bucket_names;
mod ending;
mod lists;
mod rest;
mod s3;

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use coordinator::bookkeeping::chart;
use coordinator::files::upload::UploadError;
use coordinator::objects::multipart::PartPlace;
use coordinator::objects::{
    ObjectError, buckets, changes, copy, delete, expiry, get, listing, multipart, put,
};
use futures::future::join_all;
use futures::{TryStreamExt, stream};
use http::StatusCode;
use limits::memory::Holder;
use md5::{Digest, Md5};
use model::ids::{UserId, VersionId};
use model::names::{BucketName, ContentType, ObjectKey};
use model::objects::{
    Bucket, ContentSum, Deleted, Described, ListEntry, Names, ObjectMetadata, ObjectPart,
    ObjectVersion, SumSlot, TargetRefusal, VersionRef, Versioning, WriteCondition,
};
use rules::listing::{Listing, Start};
use sqlx::PgPool;

use crate::support::{CHUNK, Client, Coordinator, Node, balance, content, count, soon, total};

/// An account with a bucket.
struct Shop {
    coordinator: Coordinator,
    user: UserId,
    client: Client,
    bucket: Bucket,
    _nodes: [Node; 3],
}

const PLAIN: (Versioning, Names) = (Versioning::Off, Names::Plain);

fn name(text: &str) -> BucketName {
    BucketName::try_from(text.to_owned()).unwrap()
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::try_from(text.to_owned()).unwrap()
}

fn holder(account: UserId) -> Holder {
    Holder {
        account,
        address: [192, 0, 2, 1].into(),
    }
}

fn described(text: &str, condition: WriteCondition) -> Described {
    Described {
        condition,
        ..Described::plain(key(text))
    }
}

fn sum(content: &[u8]) -> ContentSum {
    ContentSum {
        etag: hex::encode(Md5::digest(content)),
        checksum: None,
    }
}

impl Shop {
    async fn open(pool: PgPool) -> Self {
        let settings = ["money.trial_microcredits=0"];
        let (coordinator, nodes) = Coordinator::with_fleet(pool, &settings).await;
        let (user, client) = coordinator.customer().await;
        let bucket =
            buckets::create(&coordinator.app.objects, user, &name("a-bucket"), PLAIN).await;
        Self {
            bucket: bucket.unwrap(),
            coordinator,
            user,
            client,
            _nodes: nodes,
        }
    }

    fn objects(&self) -> &coordinator::objects::Objects {
        &self.coordinator.app.objects
    }

    async fn put_if(
        &self,
        key: &str,
        content: &[u8],
        condition: WriteCondition,
    ) -> Result<VersionId, ObjectError> {
        let slot = SumSlot::default();
        slot.set(sum(content)).unwrap();
        let frames: Vec<io::Result<Bytes>> = content
            .chunks(1500)
            .map(|frame| Ok(Bytes::copy_from_slice(frame)))
            .collect();
        let described = described(key, condition);
        let size = Some(content.len() as u64);
        let body = stream::iter(frames);
        let holder = holder(self.user);
        soon(put::put(
            self.objects(),
            holder,
            &self.bucket,
            described,
            size,
            slot,
            body,
        ))
        .await
    }

    async fn put(&self, key: &str, content: &[u8]) -> VersionId {
        self.put_if(key, content, WriteCondition::None)
            .await
            .unwrap()
    }

    async fn find(&self, key: &str, version: VersionRef) -> Result<ObjectVersion, ObjectError> {
        get::find(self.objects(), &self.bucket, key, version).await
    }

    async fn read(&self, version: &ObjectVersion, range: std::ops::Range<u64>) -> Vec<u8> {
        let parts = get::parts(self.objects(), version).await.unwrap();
        let holder = holder(self.user);
        let bytes = get::read(self.objects(), self.user, &parts, &range, holder)
            .await
            .unwrap();
        let bytes: Vec<Bytes> = soon(bytes.try_collect()).await.unwrap();
        bytes.concat()
    }

    async fn content(&self, key: &str) -> Vec<u8> {
        let version = self.find(key, VersionRef::Latest).await.unwrap();
        self.read(&version, 0..version.size_bytes).await
    }

    async fn delete(&self, text: &str) -> Deleted {
        let (holder, key) = (holder(self.user), key(text));
        let deleted = delete::key(
            self.objects(),
            holder,
            &self.bucket,
            &key,
            WriteCondition::None,
        );
        deleted.await.unwrap()
    }

    async fn delete_version(&self, text: &str, version: VersionRef) -> Deleted {
        let key = key(text);
        let none = WriteCondition::None;
        let deleted = delete::version(self.objects(), &self.bucket, &key, version, &none).await;
        deleted.unwrap()
    }

    /// The bucket as it is now.
    async fn keep_versions(&mut self, keep: bool) {
        buckets::keep_versions(self.objects(), &self.bucket, keep)
            .await
            .unwrap();
        self.bucket = self.objects().bucket(self.user, "a-bucket").await.unwrap();
    }

    async fn escrow(&self) -> i64 {
        balance(
            self.coordinator.app.db.connections(),
            chart::escrow(self.user),
        )
        .await
    }
}

/// Of a version whose bytes and key are no more than what is billed at least.
const SMALL: i64 = (65_536 * 3 * 1_250_000 + 999_999_999) / 1_000_000_000;

const FILES: &str = "SELECT count(*) FROM files WHERE state = 'ready'";

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_overwritten_key_has_the_new_bytes_and_the_old_ones_are_paid_back(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.put("k", b"old").await;
    assert_eq!(shop.content("k").await, b"old");
    assert_eq!(shop.escrow().await, SMALL);
    // Short, of a chunk, of several: each way in ends with the same name.
    for size in [0, 1, CHUNK, CHUNK + 1, 5 * CHUNK + 7] {
        let new = content(size);
        shop.put("k", &new).await;
        assert_eq!(shop.content("k").await, new);
        assert_eq!(count(&pool, FILES).await, 1, "{size}");
        assert_eq!(shop.escrow().await, SMALL);
    }
    let version = shop.find("k", VersionRef::Latest).await.unwrap();
    assert_eq!(version.etag, sum(&content(5 * CHUNK + 7)).etag);
    let middle = CHUNK as u64 - 3..3 * CHUNK as u64 + 5;
    let expected = &content(5 * CHUNK + 7)[middle.start as usize..middle.end as usize];
    assert_eq!(shop.read(&version, middle).await, expected);
    let files = "SELECT sum(file_count)::bigint FROM users";
    assert_eq!(count(&pool, files).await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn of_many_writes_at_once_one_is_the_latest_and_no_charge_is_lost(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    let contents: Vec<Vec<u8>> = (0..24u8)
        .map(|n| vec![n; 100 + usize::from(n) * 400])
        .collect();
    let puts = contents
        .iter()
        .map(|content| shop.put_if("k", content, WriteCondition::None));
    for put in join_all(puts).await {
        put.unwrap();
    }
    let latest = shop.content("k").await;
    assert!(contents.contains(&latest));
    assert_eq!(count(&pool, "SELECT count(*) FROM objects").await, 1);
    assert_eq!(count(&pool, FILES).await, 1);
    assert_eq!(shop.escrow().await, SMALL);
    assert_eq!(total(&pool, chart::escrow(shop.user)).await, SMALL);
    let (found, last) = changes::since(shop.objects(), &shop.bucket, 0, 1000)
        .await
        .unwrap();
    let numbers: Vec<i64> = found.iter().map(|change| change.seq).collect();
    assert_eq!(numbers, (1..=24).collect::<Vec<_>>());
    assert_eq!(last, 24);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn of_many_who_write_a_key_only_if_it_is_not_there_one_does(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    let contents: Vec<Vec<u8>> = (0..12u8)
        .map(|n| vec![n; 100 + usize::from(n) * 800])
        .collect();
    let puts = contents
        .iter()
        .map(|content| shop.put_if("k", content, WriteCondition::Absent));
    let mut written = 0;
    for put in join_all(puts).await {
        match put {
            Ok(_) => written += 1,
            Err(ObjectError::Upload(UploadError::Refused(refusal))) => assert!(matches!(
                refusal,
                TargetRefusal::ConditionFailed | TargetRefusal::Conflict
            )),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(written, 1);
    assert_eq!(count(&pool, FILES).await, 1);
    assert_eq!(shop.escrow().await, SMALL);

    let etag = shop.find("k", VersionRef::Latest).await.unwrap().etag;
    let other = WriteCondition::Etag("0".repeat(32));
    shop.put_if("k", b"x", other).await.unwrap_err();
    shop.put_if("k", b"x", WriteCondition::Etag(etag))
        .await
        .unwrap();
    assert_eq!(shop.content("k").await, b"x");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn versions_stay_behind_a_marker_and_come_back_with_its_deletion(pool: PgPool) {
    let mut shop = Shop::open(pool.clone()).await;
    let null = shop.put("k", b"before").await;
    shop.keep_versions(true).await;
    let first = shop.put("k", b"first").await;
    let second = shop.put("k", b"second").await;
    assert_eq!(shop.content("k").await, b"second");
    assert_eq!(shop.escrow().await, 3 * SMALL);

    let Deleted::Marked(marker) = shop.delete("k").await else {
        panic!("no marker");
    };
    assert!(matches!(
        shop.find("k", VersionRef::Latest).await,
        Err(ObjectError::Deleted(_))
    ));
    assert_eq!(shop.escrow().await, 4 * SMALL); // a marker is billed, too
    let old = shop.find("k", VersionRef::Id(first)).await.unwrap();
    assert_eq!(shop.read(&old, 0..5).await, b"first");
    assert_eq!(shop.find("k", VersionRef::Null).await.unwrap().id, null);

    shop.delete_version("k", VersionRef::Id(marker)).await;
    assert_eq!(shop.content("k").await, b"second");
    shop.delete_version("k", VersionRef::Id(second)).await;
    assert_eq!(shop.content("k").await, b"first");
    shop.delete_version("k", VersionRef::Null).await;
    shop.delete_version("k", VersionRef::Id(first)).await;
    assert!(matches!(
        shop.find("k", VersionRef::Latest).await,
        Err(ObjectError::NoSuchKey)
    ));
    assert_eq!(shop.escrow().await, 0);
    assert_eq!(count(&pool, FILES).await, 0);
    buckets::delete(shop.objects(), &shop.bucket).await.unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn where_versions_are_not_kept_any_more_the_null_version_alone_is_replaced(pool: PgPool) {
    let mut shop = Shop::open(pool.clone()).await;
    shop.keep_versions(true).await;
    let kept = shop.put("k", b"kept").await;
    shop.keep_versions(false).await;
    shop.put("k", b"null 1").await;
    shop.put("k", b"null 2").await;
    let listing = Listing {
        start: Start::beginning(),
        limit: 10,
        ..Listing::default()
    };
    let page = listing::versions(shop.objects(), &shop.bucket, &listing, None)
        .await
        .unwrap();
    let versions: Vec<_> = page
        .entries
        .iter()
        .map(|entry| match entry {
            ListEntry::Object(version) => (version.is_null, version.is_latest, version.id == kept),
            ListEntry::Prefix(_) => panic!("no folder"),
        })
        .collect();
    assert_eq!(versions, [(true, true, false), (false, false, true)]);
    assert_eq!(shop.content("k").await, b"null 2");
    assert_eq!(shop.escrow().await, 2 * SMALL);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_copy_moves_no_bytes_and_outlives_what_it_was_made_of(pool: PgPool) {
    const CHUNKS: &str = "SELECT count(*) FROM chunks";
    let shop = Shop::open(pool.clone()).await;
    let bytes = content(3 * CHUNK);
    shop.put("from", &bytes).await;
    let source = shop.find("from", VersionRef::Latest).await.unwrap();
    let to = described("to", WriteCondition::None);
    copy::copy(shop.objects(), holder(shop.user), &source, &shop.bucket, to)
        .await
        .unwrap();
    assert_eq!(count(&pool, CHUNKS).await, 3);
    assert_eq!(shop.escrow().await, 2 * SMALL);
    assert_eq!(
        shop.find("to", VersionRef::Latest).await.unwrap().etag,
        source.etag
    );

    // Onto itself, too, with other metadata.
    let again = described("from", WriteCondition::None);
    copy::copy(
        shop.objects(),
        holder(shop.user),
        &source,
        &shop.bucket,
        again,
    )
    .await
    .unwrap();
    assert_eq!(shop.content("from").await, bytes);
    shop.delete("from").await;
    assert_eq!(shop.content("to").await, bytes);
    shop.delete("to").await;
    assert_eq!(count(&pool, FILES).await, 0);
    assert_eq!(shop.escrow().await, 0);
    shop.coordinator.forget().await;
    assert_eq!(count(&pool, CHUNKS).await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_belongs_to_an_object_is_no_file_that_can_be_listed_or_deleted(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.put("k", b"content").await;
    shop.client.upload("a file", b"x").await;
    for sort in ["", "&sort=name"] {
        let list = shop
            .client
            .get(&format!("/api/v1/files?limit=10{sort}"))
            .await;
        let list = list.expect(StatusCode::OK);
        assert_eq!(list["items"].as_array().unwrap().len(), 1);
    }
    let id: uuid::Uuid = sqlx::query_scalar("SELECT file_id FROM object_parts")
        .fetch_one(&pool)
        .await
        .unwrap();
    let deleted = shop.client.delete(&format!("/api/v1/files/{id}")).await;
    deleted.problem(404, "not-found");
    assert_eq!(shop.content("k").await, b"content");
}

async fn put_part(shop: &Shop, id: model::ids::MultipartId, number: u32, content: &[u8]) {
    let slot = SumSlot::default();
    slot.set(sum(content)).unwrap();
    let key = key("k");
    let place = PartPlace {
        bucket: &shop.bucket,
        key: &key,
        id,
        number,
    };
    let body = stream::iter([Ok::<_, io::Error>(Bytes::copy_from_slice(content))]);
    let size = Some(content.len() as u64);
    let stored = multipart::put_part(shop.objects(), holder(shop.user), &place, size, slot, body);
    stored.await.unwrap();
}

async fn begin(shop: &Shop) -> model::ids::MultipartId {
    let (content_type, metadata) = (ContentType::octet_stream(), ObjectMetadata::default());
    let key = key("k");
    let begun = multipart::begin(
        shop.objects(),
        &shop.bucket,
        &key,
        &content_type,
        &metadata,
        None,
    );
    begun.await.unwrap()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_object_in_parts_is_those_that_were_named_and_the_others_are_paid_back(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.put("k", b"before").await;
    let id = begin(&shop).await;
    let pieces: [Vec<u8>; 3] = [content(2 * CHUNK), vec![7; 10], vec![8; CHUNK + 1]];
    put_part(&shop, id, 1, b"sent again").await;
    for (number, piece) in (1..).zip(&pieces) {
        put_part(&shop, id, number, piece).await;
    }
    put_part(&shop, id, 9, b"not named").await;
    assert_eq!(shop.escrow().await, 5 * SMALL);
    assert_eq!(shop.content("k").await, b"before");

    let (upload, stored) = multipart::parts(shop.objects(), &shop.bucket, "k", id, 0, 100)
        .await
        .unwrap();
    let parts: Vec<ObjectPart> = stored
        .iter()
        .filter(|part| part.number != 9)
        .map(|part| ObjectPart {
            number: part.number,
            file_id: part.file_id,
            size_bytes: part.size_bytes,
            md5: None,
        })
        .collect();
    let sum = ContentSum {
        etag: "x-3".to_owned(),
        checksum: None,
    };
    let (holder, none) = (holder(shop.user), WriteCondition::None);
    let completed = multipart::complete(
        shop.objects(),
        holder,
        &shop.bucket,
        &upload,
        parts,
        sum,
        none,
    );
    let version = completed.await.unwrap();
    let whole = pieces.concat();
    assert_eq!(shop.content("k").await, whole);
    let found = shop.find("k", VersionRef::Latest).await.unwrap();
    assert_eq!((found.id, found.size_bytes), (version, whole.len() as u64));
    let across = 2 * CHUNK - 5..2 * CHUNK + 20;
    let range = across.start as u64..across.end as u64;
    assert_eq!(shop.read(&found, range).await, &whole[across]);
    // Three parts, and what the version itself is billed by.
    assert_eq!(shop.escrow().await, 4 * SMALL);
    let upload = multipart::find(shop.objects(), &shop.bucket, "k", id)
        .await
        .unwrap();
    assert_eq!(upload.completed_as, Some(version));

    shop.delete("k").await;
    assert_eq!(shop.escrow().await, 0);
    assert_eq!(count(&pool, FILES).await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_upload_in_parts_that_is_given_up_or_left_is_paid_back(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    let (given_up, left) = (begin(&shop).await, begin(&shop).await);
    for id in [given_up, left] {
        put_part(&shop, id, 1, b"one").await;
        put_part(&shop, id, 2, b"two").await;
    }
    assert_eq!(shop.escrow().await, 4 * SMALL);
    assert!(matches!(
        buckets::delete(shop.objects(), &shop.bucket).await,
        Err(ObjectError::NotEmpty)
    ));
    multipart::abort(shop.objects(), &shop.bucket, "k", given_up)
        .await
        .unwrap();
    assert_eq!(shop.escrow().await, 2 * SMALL);
    let over = "UPDATE multipart_uploads SET expires_at = now() - interval '1 second'";
    sqlx::query(over).execute(&pool).await.unwrap();
    while expiry::expire_one_multipart(shop.objects()).await.unwrap() {}
    assert_eq!(shop.escrow().await, 0);
    assert_eq!(count(&pool, FILES).await, 0);
    buckets::delete(shop.objects(), &shop.bucket).await.unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_object_that_nobody_pays_for_ends_with_all_that_shares_its_bytes(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.put("a", b"bytes").await;
    shop.put("other", b"others").await;
    let source = shop.find("a", VersionRef::Latest).await.unwrap();
    let to = described("b", WriteCondition::None);
    copy::copy(shop.objects(), holder(shop.user), &source, &shop.bucket, to)
        .await
        .unwrap();
    let empty = "UPDATE accounts SET balance_microcredits = 0 WHERE account = 'available'";
    sqlx::query(empty).execute(&pool).await.unwrap();
    let unpaid = "UPDATE files SET paid_until = now() - interval '1 day', completed_at = now() - interval '40 days'
         WHERE file_id = (SELECT file_id FROM object_parts JOIN objects USING (version_id) WHERE key = 'a')";
    sqlx::query(unpaid).execute(&pool).await.unwrap();
    while expiry::expire_one(shop.objects()).await.unwrap() {}
    for gone in ["a", "b"] {
        assert!(matches!(
            shop.find(gone, VersionRef::Latest).await,
            Err(ObjectError::NoSuchKey)
        ));
    }
    assert_eq!(shop.content("other").await, b"others");
    assert_eq!(shop.escrow().await, SMALL);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn whoever_cannot_pay_has_the_object_that_he_had(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.put("k", b"before").await;
    let poor = "UPDATE accounts SET balance_microcredits = 100 WHERE account = 'available'";
    sqlx::query(poor).execute(&pool).await.unwrap();
    for size in [10, 3 * CHUNK] {
        let refused = shop.put_if("k", &content(size), WriteCondition::None).await;
        assert!(matches!(
            refused,
            Err(ObjectError::Upload(UploadError::PaymentRequired { .. }))
        ));
    }
    assert_eq!(shop.content("k").await, b"before");
    let keys: BTreeSet<String> = sqlx::query_scalar("SELECT key FROM objects")
        .fetch_all(&pool)
        .await
        .unwrap()
        .into_iter()
        .collect();
    assert_eq!(keys, BTreeSet::from(["k".to_owned()]));
}
