//! `storage-node init`, and what it leaves for a second one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use tokio::net::TcpListener;

use crate::coordinator::Coordinator;
use crate::program::{Operator, errors, printed};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn init_registers_the_node_and_keeps_secrets_to_the_operator() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::new();
    let output = operator.init(&coordinator, &["--region", "eu-north"]).await;
    assert!(output.status.success(), "{}", errors(&output));
    assert!(printed(&output).contains("Next: storage-node start"));
    let dir = operator.data_dir();
    for secret in ["identity.key", "credentials.json"] {
        assert_eq!(mode(&dir.join(secret)), 0o600, "{secret}");
    }
    assert_eq!(mode(&dir), 0o700);
    let registrations = coordinator.shared.registrations.lock().unwrap();
    assert_eq!(registrations[0]["name"], "Test Node");
    assert_eq!(registrations[0]["region"], "eu-north");
    assert!(registrations[0]["capacity_bytes"].as_u64().unwrap() > 0);
    let config = fs::read_to_string(operator.config_file()).unwrap();
    assert!(config.contains("name = \"Test Node\""), "{config}");
    assert!(config.contains("region = \"eu-north\""), "{config}");
    assert!(config.contains("#period = \"14d\""), "{config}");
}

#[tokio::test]
async fn a_second_init_keeps_identity_and_settings_and_takes_the_new_key() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let dir = operator.data_dir();
    let identity = fs::read(dir.join("identity.key")).unwrap();
    let config = fs::read(operator.config_file()).unwrap();
    let again = operator.init(&coordinator, &["--capacity", "200MB"]).await;
    assert!(again.status.success(), "{}", errors(&again));
    assert!(printed(&again).contains("does not say what you asked for"));
    assert_eq!(fs::read(dir.join("identity.key")).unwrap(), identity);
    assert_eq!(fs::read(operator.config_file()).unwrap(), config);
    let credentials = fs::read_to_string(dir.join("credentials.json")).unwrap();
    assert!(credentials.contains("key-2"), "{credentials}");
}

#[tokio::test]
async fn a_network_other_than_the_expected_one_is_refused() {
    let coordinator = Coordinator::start().await;
    let other = Coordinator::start().await;
    let operator = Operator::new();
    let expected = other.document().network_id.to_string();
    let output = operator
        .init(&coordinator, &["--network-id", &expected])
        .await;
    assert!(!output.status.success());
    assert!(
        errors(&output).contains("serves network"),
        "{}",
        errors(&output)
    );
    assert!(coordinator.shared.registrations.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_node_belongs_to_one_network_for_good() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let other = Coordinator::start().await;
    let output = operator.init(&other, &[]).await;
    assert!(
        errors(&output).contains("belongs to network"),
        "{}",
        errors(&output)
    );
    assert!(other.shared.registrations.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_forged_network_document_is_refused() {
    let coordinator = Coordinator::start().await;
    coordinator.shared.document.lock().unwrap().serial = 9;
    let output = Operator::new().init(&coordinator, &[]).await;
    assert!(!output.status.success());
    assert!(
        errors(&output).contains("not made by the network's key"),
        "{}",
        errors(&output)
    );
}

#[tokio::test]
async fn a_refusal_of_the_coordinator_is_passed_on() {
    let coordinator = Coordinator::start().await;
    let output = Operator::new()
        .init(&coordinator, &["--token", "used up"])
        .await;
    assert_eq!(
        errors(&output),
        "storage-node: the coordinator refused (403): the admission token is used up\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn an_exported_identity_makes_the_same_node_elsewhere() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let backup = operator.home.path().join("backup.txt");
    let backup = backup.to_str().unwrap();
    let exported = operator.run(&["identity", "export", backup]).await;
    assert!(exported.status.success(), "{}", errors(&exported));
    assert_eq!(mode(backup.as_ref()), 0o600);
    let refused = operator.run(&["identity", "import", backup]).await;
    assert!(errors(&refused).contains("never overwritten"));

    let elsewhere = Operator::new();
    let imported = elsewhere.run(&["identity", "import", backup]).await;
    assert!(imported.status.success(), "{}", errors(&imported));
    let shown = [&operator, &elsewhere].map(|operator| operator.run(&["identity", "show"]));
    let [one, other] = shown;
    assert_eq!(printed(&one.await), printed(&other.await));
    let output = elsewhere.init(&coordinator, &[]).await;
    assert!(output.status.success(), "{}", errors(&output));
    let registrations = coordinator.shared.registrations.lock().unwrap();
    assert_eq!(registrations[0]["peer_id"], registrations[1]["peer_id"]);
}

/// Answers everything with a redirect to the same path at `to`.
async fn redirecting(to: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(move |uri: Uri| {
        let location = format!("{to}{uri}");
        async move { (StatusCode::MOVED_PERMANENTLY, [("location", location)]).into_response() }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn init_follows_a_redirect_within_the_host_and_keeps_where_it_leads() {
    let coordinator = Coordinator::start().await;
    let (operator, url) = (Operator::new(), redirecting(coordinator.url.clone()).await);
    let args = ["init", "--name", "Test Node", "--coordinator-url", &url];
    let output = operator.run(&args).await;
    assert!(output.status.success(), "{}", errors(&output));
    let config = fs::read_to_string(operator.config_file()).unwrap();
    let kept = format!("coordinator_url = \"{}\"", coordinator.url);
    assert!(config.contains(&kept), "{config}");
}

#[tokio::test]
async fn init_at_an_address_that_redirects_elsewhere_says_what_to_write() {
    let coordinator = Coordinator::start().await;
    let elsewhere = coordinator.url.replace("127.0.0.1", "localhost");
    let (operator, url) = (Operator::new(), redirecting(elsewhere.clone()).await);
    let args = ["init", "--name", "Test Node", "--coordinator-url", &url];
    let output = operator.run(&args).await;
    assert!(!output.status.success());
    assert!(errors(&output).contains(&elsewhere), "{}", errors(&output));
    assert!(
        errors(&output).contains("--coordinator-url"),
        "{}",
        errors(&output)
    );
    assert!(coordinator.shared.registrations.lock().unwrap().is_empty());
}
