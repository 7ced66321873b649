//! `start --init`: nodes that register by themselves, as they do in containers.

use std::fs;
use std::sync::atomic::Ordering;

use crate::coordinator::Coordinator;
use crate::program::{Operator, errors};

/// An operator who has said everything by settings and has run nothing yet.
fn operator(coordinator: &Coordinator) -> Operator {
    let mut operator = Operator::new();
    operator.settings.extend([
        "node.name=Test Node".to_owned(),
        "node.capacity=100MB".to_owned(),
        format!("node.coordinator_url={}", coordinator.url),
    ]);
    operator
}

#[tokio::test]
async fn the_first_start_registers_and_later_ones_never_again() {
    let mut coordinator = Coordinator::start().await;
    let operator = operator(&coordinator);
    let token = operator.home.path().join("token");
    fs::write(&token, "a token\nand a second line\n").unwrap();
    let args = ["--init", "--token-file", token.to_str().unwrap()];

    let node = operator.launch(&args).ready().await;
    let (first, _) = coordinator.hello().await;
    node.stop().await;
    // Neither is needed again.
    fs::remove_file(&token).unwrap();
    coordinator.shared.away.store(true, Ordering::SeqCst);
    let node = operator.launch(&args).ready().await;
    let (second, _) = coordinator.hello().await;
    node.stop().await;

    assert_eq!(first, second);
    let registrations = coordinator.shared.registrations.lock().unwrap();
    assert_eq!(registrations.len(), 1);
    assert_eq!(registrations[0]["token"], "a token");
    assert_eq!(registrations[0]["capacity_bytes"], 100_000_000);
}

#[tokio::test]
async fn the_first_start_waits_for_a_coordinator_that_is_away() {
    let mut coordinator = Coordinator::start().await;
    coordinator.shared.away.store(true, Ordering::SeqCst);
    let operator = operator(&coordinator);
    let node = operator.launch(&["--init"]);
    coordinator.has_turned_away(2).await;
    coordinator.shared.away.store(false, Ordering::SeqCst);
    let node = node.ready().await;
    coordinator.hello().await;
    node.stop().await;
}

#[tokio::test]
async fn a_node_that_waits_for_its_coordinator_stops_when_it_is_told_to() {
    let coordinator = Coordinator::start().await;
    coordinator.shared.away.store(true, Ordering::SeqCst);
    let operator = operator(&coordinator);
    let node = operator.launch(&["--init"]);
    coordinator.has_turned_away(1).await;
    node.stop().await;
}

#[tokio::test]
async fn a_refusal_ends_the_first_start() {
    let coordinator = Coordinator::start().await;
    let operator = operator(&coordinator);
    let mut args = vec!["start", "--init", "--token", "used up"];
    for setting in &operator.settings {
        args.extend(["--set", setting]);
    }
    let output = operator.run(&args).await;
    assert_eq!(output.status.code(), Some(1));
    let said = errors(&output);
    assert!(said.contains("the admission token is used up"), "{said}");
}
