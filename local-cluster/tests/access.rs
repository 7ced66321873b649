//! Who may do what.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use support::{refused, shared, user};

#[tokio::test]
async fn only_a_token_that_is_whole_and_signed_opens_the_door() {
    let cluster = shared().await;
    let client = cluster.client().unwrap();
    let user = user(&cluster).await;
    let good = user.access_token().await.unwrap();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    // {"alg":"none","typ":"JWT"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let reversed: String = signature.chars().rev().collect();

    let ask = async |token: Option<&str>| {
        let mut request = client.request(Method::GET, "/api/v1/files");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    };
    assert_eq!(ask(Some(&good)).await.status(), 200);
    for bad in [
        "",
        "nonsense",
        signed,
        &format!("{signed}.{reversed}"),
        &format!("{header}.{}.{signature}", claims.to_lowercase()),
        &format!("{none}.{claims}."),
        &format!("{none}.{claims}.{signature}"),
    ] {
        let answer = ask(Some(bad)).await;
        assert_eq!(answer.status(), 401, "{bad}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["status"], 401);
        assert!(problem["type"].is_string() && problem["request_id"].is_string());
    }
    assert_eq!(ask(None).await.status(), 401);
}

#[tokio::test]
async fn another_users_file_is_not_found_rather_than_forbidden() {
    let cluster = shared().await;
    let (owner, stranger) = (user(&cluster).await, user(&cluster).await);
    let file = owner.upload("mine", Some(4), "mine").await.unwrap();
    let plan = owner.initiate("more", 4).await.unwrap();

    assert_eq!(refused(stranger.file(file.file_id).await), 404);
    assert_eq!(refused(stranger.download(file.file_id).await), 404);
    assert_eq!(refused(stranger.delete(file.file_id).await), 404);
    assert_eq!(refused(stranger.upload_status(plan.upload_id).await), 404);
    let chunk = stranger.send_chunk(plan.upload_id, 0, "evil".into()).await;
    assert_eq!(refused(chunk), 404);
    assert_eq!(refused(stranger.complete(plan.upload_id).await), 404);
    assert!(stranger.files().await.unwrap().items.is_empty());
    assert_eq!(owner.download(file.file_id).await.unwrap(), "mine");
}

#[tokio::test]
async fn a_login_that_fails_does_not_tell_why() {
    let cluster = shared().await;
    let client = cluster.client().unwrap();
    let email = &cluster.status().unwrap().user.email;
    let wrong = client.login(email, "not the password").await.unwrap_err();
    let unknown = client.login("nobody@example.com", "not the password").await;
    let unknown = unknown.unwrap_err();
    assert_eq!(wrong.status().unwrap(), 401);
    assert_eq!(wrong.to_string(), unknown.to_string());
    assert_eq!(
        refused(client.register(email, "another password").await),
        409
    );
    assert_eq!(
        refused(client.register("x@example.com", "short").await),
        400
    );
}

#[tokio::test]
async fn malformed_requests_are_answered_with_a_problem() {
    let cluster = shared().await;
    let user = user(&cluster).await;
    for (path, body) in [
        ("/api/v1/files/upload/initiate", "{"),
        ("/api/v1/files/upload/initiate", "[]"),
        ("/api/v1/files/upload/initiate", r#"{"filename":"f"}"#),
        (
            "/api/v1/files/upload/initiate",
            r#"{"filename":"f","size_bytes":-1}"#,
        ),
        ("/api/v1/auth/credits/purchase", r#"{"amount_usd":-5}"#),
        ("/api/v1/auth/credits/purchase", r#"{"amount_usd":1.001}"#),
    ] {
        let request = user.request(Method::POST, path).await.unwrap();
        let answer = request.body(body).send().await.unwrap();
        assert!(
            matches!(answer.status().as_u16(), 400 | 422),
            "{path} {body}: {}",
            answer.status()
        );
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    let unknown: Result<Value, _> = user.get("/api/v1/files/not-a-uuid").await;
    assert!(matches!(refused(unknown), 400 | 404));
    let nowhere: Result<Value, _> = user.get("/api/v1/nothing/here").await;
    assert_eq!(refused(nowhere), 404);
    let plain = json!({"filename": "f", "size_bytes": 1}).to_string();
    let request = user
        .request(Method::POST, "/api/v1/files/upload/initiate")
        .await
        .unwrap();
    let answer = request.body(plain).send().await.unwrap();
    assert_eq!(answer.status(), 201, "JSON needs no content type");
}
