//! `storage-node drain`, against a coordinator that has the state of the drain.

use std::sync::atomic::Ordering;

use crate::coordinator::Coordinator;
use crate::program::{Operator, errors, json, printed};

#[tokio::test]
async fn a_dry_run_tells_what_is_missing_and_changes_nothing() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let output = operator.run(&["drain", "--dry-run"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let shown = printed(&output);
    for part in [
        "4 blobs",
        "3 other nodes",
        "1m 30s",
        "0.75 credits held back",
        "5000 bytes have to be moved",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let output = operator.run(&["drain", "--dry-run", "--output", "json"]);
    assert_eq!(json(&output.await)["missing_bytes"], 2000);
    assert_eq!(*coordinator.shared.drain.lock().unwrap(), "");
}

#[tokio::test]
async fn a_node_is_not_drained_without_a_yes_nor_against_a_refusal() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let output = operator.run(&["drain"]).await;
    assert!(!output.status.success());
    assert!(
        errors(&output).contains("drain --yes"),
        "{}",
        errors(&output)
    );
    assert_eq!(*coordinator.shared.drain.lock().unwrap(), "");

    *coordinator.shared.drain.lock().unwrap() = "cancelled"; // once before
    coordinator.shared.away.store(true, Ordering::SeqCst);
    let output = operator.run(&["drain", "--yes"]).await;
    assert!(!output.status.success(), "{}", printed(&output));
}

#[tokio::test]
async fn waiting_survives_a_coordinator_that_is_away_and_ends_with_the_statement() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let output = operator.run(&["drain", "--yes"]).await;
    assert!(output.status.success(), "{}", errors(&output));
    assert!(
        printed(&output).contains("3 of 4 blobs"),
        "{}",
        printed(&output)
    );
    let status = operator.run(&["status"]).await;
    assert!(
        printed(&status).contains("3 of 4 blobs"),
        "{}",
        printed(&status)
    );

    // To ask again goes on where it was.
    let shared = &coordinator.shared;
    let waiting = operator.run(&["drain", "--wait", "--output", "json"]);
    let looked = coordinator.looked();
    let meanwhile = async {
        looked.await;
        shared.away.store(true, Ordering::SeqCst);
        coordinator.has_turned_away(2).await;
        *shared.drain.lock().unwrap() = "drained";
        shared.away.store(false, Ordering::SeqCst);
    };
    let (output, ()) = tokio::join!(waiting, meanwhile);
    assert!(output.status.success(), "{}", errors(&output));
    let statement = json(&output);
    assert_eq!(statement["state"], "drained");
    assert_eq!(statement["held_microcredits"], 750_000);
    let again = operator.run(&["drain"]).await;
    assert!(printed(&again).contains("may be stopped for good"));
}

#[tokio::test]
async fn a_drain_that_is_called_off_ends_the_wait_without_success() {
    let coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    operator.run(&["drain", "--yes"]).await;
    let cancelled = operator.run(&["drain", "--cancel"]).await;
    assert!(cancelled.status.success(), "{}", errors(&cancelled));
    assert!(printed(&cancelled).contains("cancelled"));
    *coordinator.shared.drain.lock().unwrap() = "draining";
    let waiting = operator.run(&["drain", "--wait"]);
    let looked = coordinator.looked();
    let calling_off = async {
        looked.await;
        *coordinator.shared.drain.lock().unwrap() = "cancelled";
    };
    let (output, ()) = tokio::join!(waiting, calling_off);
    assert!(!output.status.success(), "{}", printed(&output));
}

#[tokio::test]
async fn a_node_that_has_drained_says_at_its_start_what_to_do() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    *coordinator.shared.drain.lock().unwrap() = "drained";
    let node = operator.start().await;
    coordinator.hello().await;
    // The answer to the first heartbeat has been taken when the second one is sent.
    for _ in 0..2 {
        coordinator.heartbeat(|_| true).await;
    }
    let log = std::fs::read_to_string(operator.home.path().join("node.log")).unwrap();
    assert!(log.contains("storage-node init"), "{log}");
    assert!(log.contains("may be stopped for good"), "{log}");
    node.stop().await;
}
