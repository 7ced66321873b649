//! Which copy of its data directory a node says that it is, and what it does when another one counts.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use proto::{Instance, RefusalCode, RegistrationForm, StoreAnswer};

use crate::coordinator::Coordinator;
use crate::program::{Operator, errors};

async fn said(coordinator: &mut Coordinator) -> Instance {
    coordinator.hello().await.1.instance.unwrap()
}

#[tokio::test]
async fn a_restarted_node_says_which_instances_it_was_before() {
    let mut coordinator = Coordinator::start().await;
    let operator = Operator::registered(&coordinator).await;
    let node = operator.start().await;
    let first = said(&mut coordinator).await;
    coordinator.heartbeat(|_| true).await; // it has read that it was taken
    node.stop().await;
    let node = operator.start().await;
    let second = said(&mut coordinator).await;
    node.stop().await;
    assert_eq!(first.earlier, []);
    assert_eq!(second.earlier, [first.id]);
    assert_ne!(second.id, first.id);
}

#[tokio::test]
async fn a_copy_that_is_refused_serves_nothing_hangs_up_and_asks_again() {
    let mut coordinator = Coordinator::start().await;
    let shared = coordinator.shared.clone();
    *shared.rejection.lock().unwrap() = Some("another copy is the node".to_owned());
    shared.hang_up.store(true, Ordering::Relaxed);
    let mut operator = Operator::registered(&coordinator).await;
    operator.settings.push("reconnect.initial=100ms".to_owned());
    let node = operator.start().await;
    let first = said(&mut coordinator).await;
    let again = said(&mut coordinator).await;
    assert_eq!(again, first);

    shared.hang_up.store(false, Ordering::Relaxed);
    *shared.rejection.lock().unwrap() = None;
    coordinator.heartbeat(|_| true).await;
    let blob = Bytes::from_static(b"a blob");
    let stored = coordinator.store(node.peer_id(), &blob).await;
    assert!(matches!(stored, StoreAnswer::Stored(_)), "{stored:?}");
    node.stop().await;
}

#[tokio::test]
async fn what_is_asked_before_the_greeting_is_answered_waits_for_it_and_a_copy_takes_nothing() {
    let mut coordinator = Coordinator::start().await;
    let shared = coordinator.shared.clone();
    *shared.rejection.lock().unwrap() = Some("another copy is the node".to_owned());
    shared.hang_up.store(true, Ordering::Relaxed);
    let mut operator = Operator::registered(&coordinator).await;
    operator.settings.push("reconnect.initial=100ms".to_owned());
    let node = operator.start().await;
    let blob = Bytes::from_static(b"a blob");
    // Again and again, as fast as it connects: whatever comes of it, it is no receipt.
    let mut asked = 0;
    while asked < 3 {
        said(&mut coordinator).await;
        match coordinator.try_store(node.peer_id(), &blob).await {
            Ok(StoreAnswer::Refused(refusal)) => {
                assert_eq!(refusal.code, RefusalCode::Busy);
                asked += 1;
            }
            Ok(stored) => panic!("{stored:?}"),
            Err(_) => asked += 1, // it has hung up
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn a_registration_is_signed_in_the_form_that_the_coordinator_knows() {
    let coordinator = Coordinator::start().await;
    for form in [RegistrationForm::V1, RegistrationForm::V2] {
        *coordinator.shared.form.lock().unwrap() = form;
        let init = ["--region", "north", "--token", "fsnt_any"];
        let output = Operator::new().init(&coordinator, &init).await;
        assert!(output.status.success(), "{form:?}: {}", errors(&output));
    }
}
