//! The HTTP API for the node's operator.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use proto::{NodeActivity, RefusalCode, StoreAnswer};
use serde_json::Value;

use crate::coordinator::Coordinator;
use crate::program::{Node, Operator};

async fn get(node: &Node, path: &str) -> (u16, Value) {
    let response = reqwest::get(node.admin(path)).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn post_drain(node: &Node, token: &str) -> (u16, Value) {
    let request = reqwest::Client::new()
        .post(node.admin("/drain"))
        .bearer_auth(token);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn the_operators_api_tells_how_the_node_is_and_what_it_holds() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let (peer, _) = coordinator.hello().await;
    for seed in 0..3_u8 {
        let data = Bytes::from(vec![seed; 1000]);
        coordinator.store(peer, &data).await;
    }
    coordinator.heartbeat(|beat| beat.blob_count == 3).await;
    assert_eq!(get(&node, "/health").await.0, 200);
    let (_, status) = get(&node, "/status").await;
    assert_eq!(status["name"], "Test Node");
    assert_eq!(status["catalogue"]["live"]["blobs"], 3);
    assert_eq!(status["quota"]["used_bytes"], 3 * 4096);
    let standing = status["coordinators"].as_object().unwrap();
    assert!(
        standing
            .values()
            .all(|standing| standing["accepted"] == true)
    );
    let handshakes = status["handshakes"].as_object().unwrap();
    assert!(handshakes.keys().all(|channel| channel.starts_with("tls_")));
    assert_eq!(
        handshakes
            .values()
            .map(|n| n.as_u64().unwrap())
            .sum::<u64>(),
        1
    );

    let (_, first) = get(&node, "/chunks?limit=2").await;
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let cursor = first["next_cursor"].as_str().unwrap();
    let (_, second) = get(&node, &format!("/chunks?limit=2&cursor={cursor}")).await;
    assert_eq!(second["items"].as_array().unwrap().len(), 1);
    assert_eq!(second["next_cursor"], Value::Null);
    node.stop().await;
}

#[tokio::test]
async fn bad_requests_get_a_problem_that_says_why() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    for (path, status) in [
        ("/chunks?limit=0", 400),
        ("/chunks?cursor=xyz", 400),
        ("/chunks?nonsense=1", 400),
        ("/nowhere", 404),
        ("/drain", 405),
    ] {
        let (code, problem) = get(&node, path).await;
        assert_eq!(code, status, "{path}");
        assert_eq!(problem["status"], status, "{path}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{path}");
    }
    node.stop().await;
}

#[tokio::test]
async fn draining_needs_the_token_is_the_networks_to_decide_and_outlives_a_restart() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let (peer, hello) = coordinator.hello().await;
    assert!(!hello.draining);
    let held = Bytes::from_static(b"a blob from before");
    coordinator.store(peer, &held).await;
    assert_eq!(post_drain(&node, "guess").await.0, 401);
    let token = std::fs::read_to_string(operator.data_dir().join("admin.token")).unwrap();
    let refusing = &coordinator.shared.away;
    refusing.store(true, Ordering::SeqCst);
    let (code, refusal) = post_drain(&node, token.trim()).await;
    assert_eq!((code, &refusal["status"]), (507, &Value::from(507)));
    assert_eq!(refusal["detail"], "2000 bytes of room are missing");
    refusing.store(false, Ordering::SeqCst);

    let (code, answer) = post_drain(&node, token.trim()).await;
    assert_eq!((code, &answer["state"]), (202, &Value::from("draining")));
    let refused = coordinator
        .store(peer, &Bytes::from_static(b"a new blob"))
        .await;
    assert!(
        matches!(refused, StoreAnswer::Refused(refusal) if refusal.code == RefusalCode::Draining)
    );
    let signed = coordinator.store(peer, &held).await;
    assert!(
        matches!(signed, StoreAnswer::Stored(_)),
        "it signs for what it has"
    );
    let draining = |beat: &proto::HeartbeatReport| beat.activity == NodeActivity::Draining;
    coordinator.heartbeat(draining).await;
    node.stop().await;

    let node = operator.start().await;
    coordinator.hello().await;
    coordinator.heartbeat(draining).await;
    let found = coordinator.retrieve(peer, proto::BlobId::of(&held)).await;
    assert_eq!(found, proto::RetrieveAnswer::Found(held));
    // Called off: it takes blobs again as soon as it hears so.
    *coordinator.shared.drain.lock().unwrap() = "cancelled";
    let running = |beat: &proto::HeartbeatReport| beat.activity == NodeActivity::Running;
    coordinator.heartbeat(running).await;
    let stored = coordinator
        .store(peer, &Bytes::from_static(b"a new blob"))
        .await;
    assert!(matches!(stored, StoreAnswer::Stored(_)));
    node.stop().await;
}

#[tokio::test]
async fn the_operators_page_runs_no_script_and_changes_nothing_without_the_token() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    coordinator.hello().await;
    let shown = reqwest::get(node.admin("/")).await.unwrap();
    assert_eq!(shown.status(), 200);
    let policy = shown.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(
        !policy.contains("script-src") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(shown.headers()["x-frame-options"], "DENY");
    let page = shown.text().await.unwrap();
    assert!(
        page.contains("Test Node") && page.contains("Copies held"),
        "{page}"
    );
    assert!(
        !page.contains("<script") && !page.contains(" style="),
        "{page}"
    );
    let style = reqwest::get(node.admin("/style.css")).await.unwrap();
    assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");

    let submit = async |path: &str, token: &str| {
        let request = reqwest::Client::new().post(node.admin(path));
        let form = "application/x-www-form-urlencoded";
        let request = request.header("content-type", form);
        let request = request.body(format!("token={}", token.trim()));
        request.send().await.unwrap().text().await.unwrap()
    };
    for path in ["/leave", "/stay"] {
        assert!(
            submit(path, "guess")
                .await
                .contains("That is not the token"),
            "{path}"
        );
    }
    assert_eq!(get(&node, "/status").await.1["activity"], "running");
    let token = std::fs::read_to_string(operator.data_dir().join("admin.token")).unwrap();
    let told = submit("/leave", &token).await;
    assert!(told.contains("leaves the network in order"), "{told}");
    assert_eq!(get(&node, "/status").await.1["activity"], "draining");
    node.stop().await;
}
