//! Files go in and come back.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use futures::future::join_all;
use futures::stream;
use local_cluster::wait::wait_for;
use reqwest::{Body, Method, header};
use support::{CHUNK, FILES, LONG, all_blob_files, cluster, random_bytes, refused, shared, user};

#[tokio::test]
async fn files_of_every_awkward_size_come_back_byte_for_byte() {
    let cluster = shared().await;
    let user = user(&cluster).await;
    for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17] {
        let content = random_bytes(size);
        let length = size as u64;

        let whole = user.upload("whole", Some(length), content.clone()).await;
        let pieces: Vec<_> = content.chunks(50_000).map(<[u8]>::to_vec).collect();
        let unknown = Body::wrap_stream(stream::iter(pieces.into_iter().map(std::io::Result::Ok)));
        let unknown = user.upload("of unknown length", None, unknown).await;
        let steps = user.upload_in_steps("in steps", &content).await;

        for file in [whole, unknown, steps] {
            let file = file.unwrap_or_else(|error| panic!("{size} bytes: {error}"));
            assert_eq!(file.size_bytes, length, "{}", file.filename);
            assert_eq!(file.chunk_count, length.div_ceil(CHUNK as u64));
            let back = user.download(file.file_id).await.unwrap();
            assert!(back == content, "{} of {size} bytes differs", file.filename);
            assert_eq!(user.file(file.file_id).await.unwrap(), file);
        }
    }
}

#[tokio::test]
async fn names_of_any_kind_are_kept_as_they_are() {
    let cluster = shared().await;
    let user = user(&cluster).await;
    let names = [
        "plain.txt",
        "a/b/../c",
        "\"quoted\" and 'so'",
        "two\nlines",
        "файл 文件 📄.txt",
        "100% & more?x=1#y",
        " ",
    ];
    for name in names {
        let file = user.upload(name, Some(3), "abc").await.unwrap();
        assert_eq!(file.filename, name);
        let response = user.open(file.file_id).await.unwrap();
        assert!(response.headers().contains_key(header::CONTENT_DISPOSITION));
        assert_eq!(response.bytes().await.unwrap(), "abc");
        let steps = user.upload_in_steps(name, &"abc".into()).await.unwrap();
        assert_eq!(steps.filename, name, "names need not be unique");
    }
    let listed = user.files().await.unwrap().items;
    for name in names {
        assert_eq!(listed.iter().filter(|f| f.filename == name).count(), 2);
    }
}

#[tokio::test]
async fn one_file_uploaded_twice_at_once_is_two_files() {
    let cluster = shared().await;
    let user = user(&cluster).await;
    let content = random_bytes(2 * CHUNK + 5);
    let uploads = (0..2).map(|_| user.upload("same", Some(content.len() as u64), content.clone()));
    let files: Vec<_> = join_all(uploads)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_ne!(files[0].file_id, files[1].file_id);
    for file in &files {
        assert!(user.download(file.file_id).await.unwrap() == content);
    }
}

#[tokio::test]
async fn parts_of_a_file_and_what_has_not_changed_can_be_asked_for() {
    let cluster = shared().await;
    let user = user(&cluster).await;
    let content = random_bytes(2 * CHUNK + 100);
    let file = user
        .upload("f", Some(content.len() as u64), content.clone())
        .await
        .unwrap();
    let path = format!("/api/v1/files/{}/download", file.file_id);
    let get = async |method: Method, name: header::HeaderName, value: String| {
        let request = user.request(method, &path).await.unwrap();
        request.header(name, value).send().await.unwrap()
    };

    for (range, expected) in [
        ("bytes=0-0".to_owned(), 0..1),
        (
            format!("bytes={}-{}", CHUNK - 2, CHUNK + 1),
            CHUNK - 2..CHUNK + 2,
        ),
        (format!("bytes={}-", 2 * CHUNK), 2 * CHUNK..content.len()),
        ("bytes=-7".to_owned(), content.len() - 7..content.len()),
    ] {
        let answer = get(Method::GET, header::RANGE, range.clone()).await;
        assert_eq!(answer.status(), 206, "{range}");
        assert_eq!(
            answer.headers()[header::CONTENT_RANGE],
            format!(
                "bytes {}-{}/{}",
                expected.start,
                expected.end - 1,
                content.len()
            )
        );
        assert!(
            answer.bytes().await.unwrap() == content.slice(expected),
            "{range}"
        );
    }
    let beyond = get(
        Method::GET,
        header::RANGE,
        format!("bytes={}-", content.len()),
    )
    .await;
    assert_eq!(beyond.status(), 416);

    let head = user.request(Method::HEAD, &path).await.unwrap();
    let head = head.send().await.unwrap();
    assert_eq!(
        head.headers()[header::CONTENT_LENGTH],
        content.len().to_string()
    );
    let tag = head.headers()[header::ETAG].to_str().unwrap().to_owned();
    assert!(head.bytes().await.unwrap().is_empty());
    let unchanged = get(Method::GET, header::IF_NONE_MATCH, tag).await;
    assert_eq!(unchanged.status(), 304);
    let changed = get(Method::GET, header::IF_NONE_MATCH, "\"other\"".to_owned()).await;
    assert_eq!(changed.status(), 200);
}

#[tokio::test]
async fn a_deleted_file_is_gone_here_and_on_the_disks() {
    let cluster = cluster(3, FILES).await;
    let user = user(&cluster).await;
    let content = random_bytes(CHUNK + 1);
    let file = user.upload_in_steps("f", &content).await.unwrap();
    assert_eq!(
        all_blob_files(&cluster).len(),
        6,
        "three copies of two chunks"
    );

    user.delete(file.file_id).await.unwrap();
    assert_eq!(refused(user.download(file.file_id).await), 404);
    assert_eq!(refused(user.delete(file.file_id).await), 404);
    assert!(user.files().await.unwrap().items.is_empty());
    let purged = wait_for("the nodes to forget the blobs", LONG, async || {
        all_blob_files(&cluster).is_empty().then_some(())
    });
    purged.await.unwrap();
}

#[tokio::test]
async fn everything_is_still_there_after_the_whole_network_was_down() {
    let mut cluster = cluster(3, "").await;
    let content = random_bytes(CHUNK + 9);
    let session = cluster.session().await.unwrap();
    let file = session.upload_in_steps("f", &content).await.unwrap();
    let before = cluster.status().unwrap();

    cluster.down(&|_| ()).await.unwrap();
    assert!(cluster.status().unwrap().coordinator.pid.is_none());
    cluster.bring_up(&|_| ()).await.unwrap();

    let after = cluster.status().unwrap();
    assert_eq!(after.base_url, before.base_url);
    let ids = |status: &local_cluster::Status| {
        let nodes = status.nodes.iter();
        nodes.map(|node| node.node_id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&after), ids(&before));
    let session = cluster.session().await.unwrap();
    assert!(session.download(file.file_id).await.unwrap() == content);
}
