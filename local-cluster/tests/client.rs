//! The client library against real processes: what one stores another reads, and nothing that was changed, cut off or
//! swapped where it is kept is ever handed out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::buckets::{CopyBody, ObjectTarget, ObjectsParams};
use api::paths;
use bytes::Bytes;
use client::{Client, Error, FileMap, Input, PutOptions};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use local_cluster::client::Credentials;
use local_cluster::{LocalNetwork, Member};
use reqwest::Method;
use support::{CHUNK, pair, random_bytes, shared, user};

/// A client of a new user, and its user's session.
async fn new_client() -> (Client, local_cluster::client::Session) {
    let cluster = shared().await;
    let session = user(&cluster).await;
    let token = session.access_token().await.unwrap();
    (client_of(cluster.base_url(), &token), session)
}

/// With a token that is good for a quarter of an hour, and a root of its own.
fn client_of(url: String, token: &str) -> Client {
    Client::new(config_of(url, token)).unwrap()
}

fn config_of(url: String, token: &str) -> client::ClientConfig {
    let tokens = api::auth::Tokens {
        access_token: token.to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in: 900,
        refresh_token: String::new(),
    };
    let mut config = client::ClientConfig::new(url, Credentials::Tokens(tokens));
    config.root = Some(sealing::end_to_end::Root::generate(
        &mut config.entropy.rng(),
    ));
    config
}

fn new_name() -> String {
    format!("bucket-{}", hex::encode(random_bytes(6)))
}

#[tokio::test]
async fn one_reads_what_the_other_stored() {
    let network = LocalNetwork::new(3).await.unwrap();
    let user = network.user().await.unwrap();
    let (one, other) = (user.client().unwrap(), user.client().unwrap());
    let dir = tempfile::tempdir().unwrap();
    for size in [0, 1, 65_444, 65_445, CHUNK, 8 * CHUNK, 21 * CHUNK + 17] {
        let text = random_bytes(size);
        let path = dir.path().join("source");
        fs::write(&path, &text).unwrap();
        let map = one.store_file(&path).await.unwrap();
        assert_eq!(
            (map.size, &*map.original_path),
            (size as u64, path.to_str().unwrap())
        );

        // The map is all that it takes, written down and read.
        let map: FileMap = serde_json::from_str(&serde_json::to_string(&map).unwrap()).unwrap();
        let back = dir.path().join("back");
        other.get_file(&map, &back).await.unwrap();
        assert!(fs::read(&back).unwrap() == text, "{size}");
        assert!(other.get_bytes(&map).await.unwrap() == text, "{size}");
        let (from, to) = (size / 3, size / 3 + 70_000);
        let mut part = vec![0; to - from];
        let read = other.read_at(&map, from as u64, &mut part).await.unwrap();
        assert!(part[..read] == text[from..to.min(size)], "{size}");
    }
    // As a task of its own.
    let task = {
        let (one, other) = (one.clone(), other.clone());
        async move { other.get_bytes(&one.store_bytes("text").await?).await }
    };
    assert_eq!(task.await.unwrap(), "text");
    network.kill(2).await.unwrap();
    let mut config = user.config();
    config.repeats = 0;
    let hasty = Client::new(config).unwrap();
    let bytes = hasty.store_bytes("two of three nodes are too few").await;
    assert!(bytes.is_err());
}

#[tokio::test]
async fn what_is_changed_where_it_is_kept_is_never_handed_out() {
    let cluster = shared().await;
    let session = user(&cluster).await;
    let token = session.access_token().await.unwrap();
    let mut config = config_of(cluster.base_url(), &token);
    config.repeats = 0; // what is too short may have been cut off on the way, and is asked for once more
    let client = Client::new(config).unwrap();
    let text = random_bytes(9 * CHUNK + 1000);
    let map = client.store_bytes(text.clone()).await.unwrap();
    let sealed = session.download(map.file_id).await.unwrap();
    assert!(!sealed.windows(16).any(|bytes| bytes == &text[..16]));
    let other = client
        .store_bytes(random_bytes(9 * CHUNK + 1000))
        .await
        .unwrap();
    let other = session.download(other.file_id).await.unwrap();

    let flipped = |at: usize| {
        let mut bytes = sealed.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let segment = |of: &[u8], number: usize| of[number * 65_536..(number + 1) * 65_536].to_vec();
    let with = |number: usize, put: Vec<u8>| {
        let mut bytes = sealed.to_vec();
        bytes[number * 65_536..(number + 1) * 65_536].copy_from_slice(&put);
        bytes
    };
    let end = sealed.len();
    let changed = [
        flipped(0),
        flipped(20),
        flipped(40),
        flipped(70),
        flipped(65_535),
        flipped(65_536),
        flipped(4 * 65_536 + 100),
        flipped(end - 1),
        sealed[..end - 1].to_vec(),
        sealed[..8 * 65_536].to_vec(),
        with(1, segment(&sealed, 2)),
        with(20, segment(&sealed, 1)),
        with(3, segment(&other, 3)),
        other.to_vec(),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("back");
    for (number, bytes) in changed.into_iter().enumerate() {
        let size = Some(bytes.len() as u64);
        let stored = session.upload("changed", size, bytes).await.unwrap();
        let mut swapped = map.clone();
        swapped.file_id = stored.file_id;
        assert!(client.get_file(&swapped, &path).await.is_err(), "{number}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{number}");
        // Of what is handed out as it comes, all that comes is right.
        let mut parts = std::pin::pin!(client.get_stream(&swapped, 0..map.size).unwrap());
        let mut seen = 0;
        while let Some(Ok(part)) = parts.next().await {
            assert!(part == text[seen..seen + part.len()], "{number}");
            seen += part.len();
        }
        assert!(seen < text.len(), "{number}");
    }
}

#[tokio::test]
async fn objects_have_names_that_the_coordinator_does_not_know() {
    let (client, session) = new_client().await;
    let name = format!("sealed-{}", hex::encode(random_bytes(6)));
    let bucket = client.make_bucket(&name, true).await.unwrap();
    assert!(client.make_bucket(&name, true).await.is_ok(), "made before");
    assert!(
        client.make_bucket(&name, false).await.is_err(),
        "of another kind"
    );

    let texts = [
        ("a/one", random_bytes(10)),
        ("a/b/two", random_bytes(8 * CHUNK + 3)),
        ("three ü", random_bytes(0)),
    ];
    for (key, text) in &texts {
        bucket
            .put(key, Input::Bytes(text.clone()), PutOptions::default())
            .await
            .unwrap();
        assert!(bucket.get_bytes(key).await.unwrap() == *text, "{key}");
        assert_eq!(
            bucket.head(key).await.unwrap().size,
            Some(text.len() as u64)
        );
    }
    let listed = async |directory: &str, recursive| {
        let found = bucket.list(directory, recursive).map_ok(|entry| entry.key);
        let mut keys: Vec<String> = found.try_collect().await.unwrap();
        keys.sort_unstable();
        keys
    };
    assert_eq!(listed("", true).await, ["a/b/two", "a/one", "three ü"]);
    assert_eq!(listed("", false).await, ["a/", "three ü"]);
    assert_eq!(listed("a/", false).await, ["a/b/", "a/one"]);
    let seen = session
        .objects(&name, &ObjectsParams::default())
        .await
        .unwrap();
    let seen = serde_json::to_string(&seen).unwrap();
    assert!(
        !["one", "two", "three"]
            .iter()
            .any(|word| seen.contains(word)),
        "{seen}"
    );

    // A range in the middle of an object, without its beginning.
    let mut part = [0; 5000];
    let read = bucket
        .read_at("a/b/two", 3 * CHUNK as u64 + 7, &mut part)
        .await
        .unwrap();
    assert!(read == 5000 && part == texts[1].1[3 * CHUNK + 7..3 * CHUNK + 5007]);

    bucket.rename("a/one", "c/uno").await.unwrap();
    bucket.copy("c/uno", "c/eins").await.unwrap();
    for key in ["c/uno", "c/eins"] {
        assert!(bucket.get_bytes(key).await.unwrap() == texts[0].1);
    }
    assert!(bucket.get_bytes("a/one").await.is_err());
    let absent = PutOptions {
        if_absent: true,
        ..PutOptions::default()
    };
    let taken = bucket
        .put("c/uno", Input::Bytes(Bytes::new()), absent)
        .await;
    assert_eq!(
        taken.unwrap_err().kind(),
        Some(api::problem::ProblemKind::PreconditionFailed)
    );
    bucket.remove("c/uno").await.unwrap();
    assert_eq!(listed("c/", false).await, ["c/eins"]);

    // Of a stream nobody knows the length before its end.
    let long = random_bytes(11 * CHUNK + 1);
    for text in [&long, &texts[0].1] {
        let stream = Input::Stream(Box::new(std::io::Cursor::new(text.clone())));
        bucket
            .put("streamed", stream, PutOptions::default())
            .await
            .unwrap();
        assert!(bucket.get_bytes("streamed").await.unwrap() == *text);
    }
}

#[tokio::test]
async fn an_object_under_another_ones_name_does_not_open() {
    let (client, session) = new_client().await;
    let name = format!("sealed-{}", hex::encode(random_bytes(6)));
    let bucket = client.make_bucket(&name, true).await.unwrap();
    for key in ["one", "two"] {
        let input = Input::Bytes(random_bytes(100));
        bucket.put(key, input, PutOptions::default()).await.unwrap();
    }
    // The coordinator knows no key, but may hand out one object in place of another.
    let stored = session
        .objects(&name, &ObjectsParams::default())
        .await
        .unwrap();
    let body = CopyBody {
        key: stored.items[0].key.clone(),
        version: None,
        to: ObjectTarget {
            key: stored.items[1].key.clone(),
            ..ObjectTarget::default()
        },
    };
    session.copy_object(&name, &body).await.unwrap();
    let both = join_all(["one", "two"].map(|key| bucket.get_bytes(key))).await;
    let wrong = both
        .iter()
        .filter(|got| matches!(got, Err(Error::WrongKey)))
        .count();
    assert_eq!(wrong, 1, "{both:?}");

    // Nor does anything with other words.
    let token = session.access_token().await.unwrap();
    let foreign = client_of(session.endpoint().base_url().to_owned(), &token);
    let foreign = foreign.bucket(&name).await.unwrap();
    let listed: Vec<_> = foreign.list("", true).collect().await;
    assert_eq!(listed.len(), 2);
    assert!(
        listed
            .iter()
            .all(|name| matches!(name, Err(Error::ForeignName(_))))
    );
    assert!(foreign.get_bytes("one").await.is_err());
}

#[tokio::test]
async fn a_bucket_that_is_known_to_be_sealed_is_never_taken_for_another() {
    let (client, session) = new_client().await;
    let sealed = client.make_bucket(&new_name(), true).await.unwrap();
    let plain = client.make_bucket(&new_name(), false).await.unwrap();
    let token = session.access_token().await.unwrap();
    let knowing = |name: &str, id| {
        let mut config = config_of(session.endpoint().base_url().to_owned(), &token);
        config.sealed_buckets.insert(name.to_owned(), id);
        Client::new(config).unwrap()
    };
    let right = knowing(sealed.name(), sealed.id());
    assert!(right.bucket(sealed.name()).await.is_ok());
    // What a coordinator would say that wants to read what is stored, or mixes buckets up.
    for (bucket, id) in [(&plain, plain.id()), (&sealed, plain.id())] {
        let told = knowing(bucket.name(), id).bucket(bucket.name()).await;
        assert!(matches!(told, Err(Error::OtherBucket(_))), "{told:?}");
    }
    let right = knowing(sealed.name(), plain.id());
    let taken = right.make_bucket(sealed.name(), true).await.unwrap();
    assert_eq!(taken.id(), sealed.id());
}

#[tokio::test]
async fn what_is_stored_while_its_name_changes_is_not_lost() {
    let (client, session) = new_client().await;
    let bucket = client.make_bucket(&new_name(), true).await.unwrap();
    let put = async |text: &Bytes| {
        let input = Input::Bytes(text.clone());
        bucket.put("one", input, PutOptions::default()).await
    };
    for _ in 0..8 {
        let (old, new) = (random_bytes(1000), random_bytes(2000));
        put(&old).await.unwrap();
        // One of them may be told that the other one was first.
        let (renamed, _) = futures::join!(bucket.rename("one", "two"), put(&new));
        if let Err(error) = &renamed {
            assert!(matches!(error, Error::Api(_)), "{error:?}");
        }
        let both = join_all(["one", "two"].map(|key| bucket.get_bytes(key))).await;
        let is_new = |got: &Result<Bytes, Error>| got.as_ref().is_ok_and(|got| *got == new);
        assert!(both.iter().any(is_new), "{both:?}");
        // Whatever stands under a name opens under it.
        let is_gone = |error: &Error| error.kind() == Some(api::problem::ProblemKind::NotFound);
        assert!(both.iter().flat_map(|got| got.as_ref().err()).all(is_gone));
        let _ = bucket.remove("two").await;
    }

    put(&random_bytes(10)).await.unwrap();
    let objects = session
        .objects(bucket.name(), &ObjectsParams::default())
        .await
        .unwrap();
    let stored = &objects.items[0].key;
    let refused = session
        .remove_object(bucket.name(), stored, Some("another"))
        .await;
    assert_eq!(
        refused.unwrap_err().kind(),
        Some(api::problem::ProblemKind::PreconditionFailed)
    );
    assert!(bucket.get_bytes("one").await.is_ok());
}

#[tokio::test]
async fn a_source_that_changes_under_an_upload_is_noticed_and_nothing_is_stored() {
    let (client, session) = new_client().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("source");
    let mut text = random_bytes(40 * CHUNK).to_vec();
    fs::write(&path, &text).unwrap();
    text[7] ^= 1;
    let (once, at) = (AtomicBool::new(false), path.clone());
    let tell: client::OnProgress = Arc::new(move |done, _| {
        if done > 0 && !once.swap(true, Ordering::Relaxed) {
            fs::write(&at, &text).unwrap();
        }
    });
    let stored = client.store_file_telling(&path, Some(tell)).await;
    assert!(matches!(stored, Err(Error::SourceChanged(_))), "{stored:?}");
    assert_eq!(session.files().await.unwrap().items.len(), 0);
    assert_eq!(session.me().await.unwrap().held_microcredits.get(), 0);
}

#[tokio::test]
async fn a_coordinator_that_is_killed_is_missed_by_no_transfer() {
    let cluster = pair(4, "").await;
    let session = cluster.session().await.unwrap();
    let urls = [1, 2].map(|number| cluster.client_of(number).unwrap().base_url().to_owned());
    let user = &cluster.record().user;
    let mut config = client::ClientConfig::new(
        "",
        Credentials::Password {
            email: user.email.clone(),
            password: user.password.clone(),
        },
    );
    config.urls = urls.to_vec();
    let client = Client::new(config).unwrap();
    let text = random_bytes(12 * CHUNK + 9);
    let old = client.store_bytes(text.clone()).await.unwrap();

    let uploads = join_all((0..20).map(|_| client.store_bytes(text.clone())));
    let downloads = join_all((0..20).map(|_| client.get_bytes(&old)));
    let killed = async {
        // When the first of the uploads is there, the others are under way.
        while session.files().await.map_or(2, |files| files.items.len()) < 2 {
            tokio::task::yield_now().await;
        }
        cluster.kill(Member::Coordinator(1)).await
    };
    let (new, back, killed) = futures::join!(uploads, downloads, killed);
    killed.unwrap();
    assert!(back.into_iter().all(|back| back.unwrap() == text));
    for map in new {
        assert!(client.get_bytes(&map.unwrap()).await.unwrap() == text);
    }
}

#[tokio::test]
async fn a_login_that_ends_in_mid_transfer_is_made_anew() {
    let network = LocalNetwork::new(3).await.unwrap();
    let user = network.user().await.unwrap();
    let client = user.client().unwrap();
    let text = random_bytes(60 * CHUNK);
    let ended = Arc::new(tokio::sync::Notify::new());
    let halfway = Arc::clone(&ended);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("source");
    fs::write(&path, &text).unwrap();
    let tell: client::OnProgress = Arc::new(move |done, _| {
        if done > 0 {
            halfway.notify_one();
        }
    });
    let end = async {
        ended.notified().await;
        let session = client.session();
        let logins: api::sessions::Sessions = session.get(paths::SESSIONS).await.unwrap();
        let own = logins.items.iter().find(|login| login.current).unwrap();
        let path = paths::session(own.session_id);
        let request = session.request(Method::DELETE, &path).await.unwrap();
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    };
    let (map, ()) = futures::join!(client.store_file_telling(&path, Some(tell)), end);
    assert!(client.get_bytes(&map.unwrap()).await.unwrap() == text);
}
