//! The three steps of an upload, in every wrong order.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bytes::Bytes;
use futures::{StreamExt, stream};
use local_cluster::client::chunk_of;
use local_cluster::wait::wait_for;
use proto::MicroCredits;
use reqwest::{Body, Method};
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::{CHUNK, KIB, LONG, cluster, poor_user, random_bytes, refused, shared, user};

#[tokio::test]
async fn chunks_may_come_in_any_order_and_the_last_content_wins() {
    let cluster = shared().await;
    let user = user(&cluster).await;
    let content = random_bytes(2 * CHUNK + 10);
    let plan = user.initiate("f", content.len() as u64).await.unwrap();
    assert_eq!((plan.chunk_count, plan.chunk_size_bytes), (3, CHUNK as u32));
    let id = plan.upload_id;

    let other = user.send_chunk(id, 1, random_bytes(CHUNK)).await.unwrap();
    let last = user
        .send_chunk(id, 2, chunk_of(&plan, &content, 2))
        .await
        .unwrap();
    assert_eq!((last.size_bytes, last.replicas), (10, 3));
    let status = user.upload_status(id).await.unwrap();
    assert_eq!((status.missing, status.missing_count), (vec![0], 1));

    let chunk = chunk_of(&plan, &content, 1);
    let again = user.send_chunk(id, 1, chunk.clone()).await.unwrap();
    assert_ne!(again.sha256, other.sha256);
    assert_eq!(again.sha256, hex::encode(Sha256::digest(&chunk)));
    user.send_chunk(id, 0, chunk_of(&plan, &content, 0))
        .await
        .unwrap();

    let file = user.complete(id).await.unwrap();
    assert_eq!(file.file_id, plan.file_id);
    assert!(user.download(file.file_id).await.unwrap() == content);
    assert_eq!(
        user.complete(id).await.unwrap(),
        file,
        "asking again is harmless"
    );
    let late = user.send_chunk(id, 0, chunk_of(&plan, &content, 0)).await;
    assert_eq!(refused(late), 409);
}

#[tokio::test]
async fn a_chunk_that_does_not_fit_is_refused_and_spoils_nothing() {
    let cluster = shared().await;
    let user = user(&cluster).await;
    let content = random_bytes(CHUNK + 10);
    let plan = user.initiate("f", content.len() as u64).await.unwrap();
    let id = plan.upload_id;
    for (index, length) in [
        (0, CHUNK + 1),
        (0, CHUNK - 1),
        (0, 0),
        (1, 11),
        (2, 10),
        (99, 1),
    ] {
        let status = refused(user.send_chunk(id, index, random_bytes(length)).await);
        assert!(
            matches!(status, 400 | 413 | 422),
            "chunk {index} of {length} bytes: {status}"
        );
    }
    let bodies = [("", 400), ("?index=x", 400), ("?index=-1", 400)];
    for (query, expected) in bodies {
        let path = format!("/api/v1/files/upload/{id}/chunk{query}");
        let request = user.request(Method::POST, &path).await.unwrap();
        assert_eq!(
            request.body("x").send().await.unwrap().status(),
            expected,
            "{query}"
        );
    }

    user.send_chunk(id, 1, chunk_of(&plan, &content, 1))
        .await
        .unwrap();
    let early = user.complete(id).await.unwrap_err();
    assert_eq!(early.status().unwrap(), 409);
    assert!(
        early.to_string().contains('0'),
        "it names the missing chunk: {early}"
    );
    user.send_chunk(id, 0, chunk_of(&plan, &content, 0))
        .await
        .unwrap();
    let file = user.complete(id).await.unwrap();
    assert!(user.download(file.file_id).await.unwrap() == content);
}

#[tokio::test]
async fn an_upload_that_is_given_up_costs_nothing() {
    let cluster = shared().await;
    let user = user(&cluster).await;
    let before = user.me().await.unwrap();
    let plan = user.initiate("f", 2 * CHUNK as u64).await.unwrap();
    assert!(plan.cost_microcredits.is_positive());
    let during = user.me().await.unwrap();
    assert_eq!(during.held_microcredits, plan.cost_microcredits);
    user.send_chunk(plan.upload_id, 0, random_bytes(CHUNK))
        .await
        .unwrap();

    let path = format!("/api/v1/files/upload/{}", plan.upload_id);
    let abort = user.request(Method::DELETE, &path).await.unwrap();
    assert!(abort.send().await.unwrap().status().is_success());
    let after = user.me().await.unwrap();
    assert_eq!(after.available_microcredits, before.available_microcredits);
    assert_eq!(after.held_microcredits, MicroCredits::ZERO);
    let late = user
        .send_chunk(plan.upload_id, 1, random_bytes(CHUNK))
        .await;
    assert!(matches!(refused(late), 404 | 409 | 410));
    assert!(user.files().await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_client_that_disappears_half_way_leaves_no_file_and_no_charge() {
    let cluster = shared().await;
    let user = user(&cluster).await;
    let before = user.me().await.unwrap();
    // The body promises more than it brings and then breaks.
    let pieces = (0..5).map(|_| Ok(random_bytes(CHUNK)));
    let broken = stream::iter(pieces).chain(stream::once(async {
        Err(std::io::Error::other("the client is gone"))
    }));
    let upload = user.upload("f", Some(10 * CHUNK as u64), Body::wrap_stream(broken));
    upload.await.unwrap_err();

    let returned = wait_for("the held credits to come back", LONG, async || {
        let available = user.me().await.ok()?.available_microcredits;
        (available == before.available_microcredits).then_some(())
    });
    returned.await.unwrap();
    assert!(user.files().await.unwrap().items.is_empty());
}

#[tokio::test]
async fn without_enough_credits_nothing_is_taken_and_what_is_missing_is_said() {
    let cluster = shared().await;
    let user = poor_user(&cluster).await;
    let mib = Bytes::from(vec![0; 1024 * KIB]);
    for outcome in [
        user.initiate("f", mib.len() as u64).await.map(|_| ()),
        user.upload("f", Some(mib.len() as u64), mib.clone())
            .await
            .map(|_| ()),
        user.upload(
            "f",
            None,
            Body::wrap_stream(stream::iter([std::io::Result::Ok(mib.clone())])),
        )
        .await
        .map(|_| ()),
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.status().unwrap(), 402);
        let text = error.to_string();
        assert!(
            text.contains("credit") && text.contains(|c: char| c.is_ascii_digit()),
            "{text}"
        );
    }
    assert!(user.files().await.unwrap().items.is_empty());

    user.purchase(1).await.unwrap();
    let file = user
        .upload("f", Some(mib.len() as u64), mib.clone())
        .await
        .unwrap();
    assert!(user.download(file.file_id).await.unwrap() == mib);
    let balance: Value = user.get("/api/v1/balance").await.unwrap();
    assert_eq!(balance["owner"], "user");
    assert!(balance["escrow_microcredits"].as_i64().unwrap() > 0);
}

#[tokio::test]
async fn more_than_the_disks_hold_is_refused_and_not_charged() {
    let small = "[coordinator.placement]\npatience = \"1s\"\n[node.node]\ncapacity = \"1MiB\"";
    let cluster = cluster(3, small).await;
    let user = user(&cluster).await;
    let before = user.me().await.unwrap();
    let content = random_bytes(8 * CHUNK);
    let upload = user
        .upload("f", Some(content.len() as u64), content.clone())
        .await;
    assert_eq!(refused(upload), 507);
    let returned = wait_for("the held credits to come back", LONG, async || {
        let available = user.me().await.ok()?.available_microcredits;
        (available == before.available_microcredits).then_some(())
    });
    returned.await.unwrap();

    // What fits still goes.
    let small = random_bytes(1000);
    let fits = wait_for("room for a small file", LONG, async || {
        user.upload("small", Some(1000), small.clone()).await.ok()
    });
    let file = fits.await.unwrap();
    assert!(user.download(file.file_id).await.unwrap() == small);
}
