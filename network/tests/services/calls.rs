//! Requests and their answers over a healthy connection.

use bytes::Bytes;
use futures::future::join_all;
use network::{CallError, start};
use proto::{
    BlobId, Delete, DeleteRequest, DeletionOutcomes, Heartbeat, Hello, HelloReport, NodeId,
    RequestId, Retrieve, RetrieveAnswer, RetrieveRequest, Roles, Store, protocols,
};
use tokio::sync::mpsc;

use crate::support::{
    Pair, Wire, answer, answer_all, answer_for, answer_to, config, heartbeat_is_answered,
    listening_as, next_request, over_tcp_and_quic, report, soon, store, store_is_answered,
};

const KIB: usize = 1024;

over_tcp_and_quic! {
    a_blob_goes_out_and_its_answer_comes_back,
    a_blob_that_is_asked_for_comes_back_whole,
    a_node_reports_over_the_connection_that_it_opened,
    answers_may_come_later_and_in_any_order,
    a_request_that_is_dropped_is_an_error_at_the_caller,
    a_request_beyond_the_cap_is_refused_by_its_sender,
    an_answer_beyond_the_cap_is_refused_by_its_sender,
    many_large_calls_are_answered_and_eight_run_at_a_time,
    many_small_calls_at_once_are_all_answered,
    heartbeats_are_answered_while_blobs_flow,
    a_protocol_is_not_served_against_its_direction,
}

async fn a_blob_goes_out_and_its_answer_comes_back(wire: Wire) {
    let mut pair = Pair::over(wire).await;
    let sent = store(1, 256 * KIB);
    let coordinator = pair.coordinator.handle.clone();
    let call = tokio::spawn({
        let (sent, node) = (sent.clone(), pair.node_id());
        async move { coordinator.call::<Store>(node, sent).await }
    });

    let mut request = next_request(&mut pair.node).await;
    assert_eq!(request.peer, pair.coordinator_id());
    assert_eq!(request.protocol, protocols::STORE_CHUNK);
    assert!(request.payload_len() > sent.data.len());
    assert_eq!(request.decode::<Store>(), Ok(sent.clone()));
    request.respond::<Store>(answer_for(sent.blob_id)).await;
    assert_eq!(soon(call).await.unwrap(), Ok(answer_for(sent.blob_id)));
}

async fn a_blob_that_is_asked_for_comes_back_whole(wire: Wire) {
    let mut pair = Pair::over(wire).await;
    let blob = store(1, 4096 * KIB).data;
    let asked = RetrieveRequest {
        blob_id: BlobId::of(&blob),
        request_id: RequestId::NONE,
    };
    let call = pair
        .coordinator
        .handle
        .call::<Retrieve>(pair.node_id(), asked);
    let answering = async {
        let mut request = next_request(&mut pair.node).await;
        assert_eq!(request.decode::<Retrieve>(), Ok(asked));
        let found = RetrieveAnswer::Found(blob.clone());
        request.respond::<Retrieve>(found).await;
    };
    let (answered, ()) = soon(async { tokio::join!(call, answering) }).await;
    assert_eq!(answered, Ok(RetrieveAnswer::Found(blob.clone())));
}

async fn a_node_reports_over_the_connection_that_it_opened(wire: Wire) {
    let pair = Pair::over(wire).await;
    let coordinator = pair.coordinator_id();
    answer_all(pair.coordinator.requests);
    heartbeat_is_answered(&pair.node.handle, coordinator).await;
}

async fn answers_may_come_later_and_in_any_order(wire: Wire) {
    let mut pair = Pair::over(wire).await;
    let node = pair.node_id();
    let calls = join_all((0..3).map(|number| {
        let handle = pair.coordinator.handle.clone();
        async move { handle.call::<Store>(node, store(number, 100)).await }
    }));
    let answering = async {
        let mut requests = Vec::new();
        for _ in 0..3 {
            requests.push(next_request(&mut pair.node).await);
        }
        for request in requests.into_iter().rev() {
            answer(request).await;
        }
    };
    let (answers, ()) = soon(async { tokio::join!(calls, answering) }).await;
    for (number, answered) in answers.into_iter().enumerate() {
        assert_eq!(answered, Ok(answer_for(store(number, 100).blob_id)));
    }
}

async fn a_request_that_is_dropped_is_an_error_at_the_caller(wire: Wire) {
    let mut pair = Pair::over(wire).await;
    let call = pair
        .coordinator
        .handle
        .call::<Store>(pair.node_id(), store(1, 100));
    let dropping = async { drop(next_request(&mut pair.node).await) };
    let (answered, ()) = soon(async { tokio::join!(call, dropping) }).await;
    let error = answered.unwrap_err();
    assert!(matches!(error, CallError::Io(_)), "{error:?}");
    assert!(error.outcome_unknown());
}

async fn a_request_beyond_the_cap_is_refused_by_its_sender(wire: Wire) {
    let pair = Pair::over(wire).await;
    let node = pair.node_id();
    answer_all(pair.node.requests);
    let cap = protocols::STORE_CHUNK.max_frame_bytes;
    let call = pair.coordinator.handle.call::<Store>(node, store(1, cap));
    let Err(CallError::Io(reason)) = soon(call).await else {
        panic!("a frame beyond the cap was sent");
    };
    assert!(reason.contains(&cap.to_string()), "{reason}");
    store_is_answered(&pair.coordinator.handle, node).await;
}

async fn an_answer_beyond_the_cap_is_refused_by_its_sender(wire: Wire) {
    let mut pair = Pair::over(wire).await;
    let node = pair.node_id();
    let asked = RetrieveRequest {
        blob_id: BlobId::of(b""),
        request_id: RequestId::NONE,
    };
    let call = pair.coordinator.handle.call::<Retrieve>(node, asked);
    let answering = async {
        let too_large = Bytes::from(vec![0; protocols::RETRIEVE_CHUNK.max_frame_bytes]);
        let request = next_request(&mut pair.node).await;
        let found = RetrieveAnswer::Found(too_large);
        request.respond::<Retrieve>(found).await;
    };
    let (answered, ()) = soon(async { tokio::join!(call, answering) }).await;
    assert!(matches!(answered, Err(CallError::Io(_))), "{answered:?}");
    answer_all(pair.node.requests);
    store_is_answered(&pair.coordinator.handle, node).await;
}

async fn many_large_calls_are_answered_and_eight_run_at_a_time(wire: Wire) {
    const CALLS: usize = 64;
    let mut pair = Pair::over(wire).await;
    let node = pair.node_id();
    let calls = (0..CALLS).map(|number| {
        let handle = pair.coordinator.handle.clone();
        tokio::spawn(async move { handle.call::<Store>(node, store(number, 256 * KIB)).await })
    });
    let calls: Vec<_> = calls.collect();
    for _ in 0..CALLS / 8 {
        let mut under_way = Vec::new();
        while under_way.len() < 8 {
            under_way.push(next_request(&mut pair.node).await);
        }
        // A small call goes past the blobs that wait, and no ninth blob has come before it.
        let delete = pair
            .coordinator
            .handle
            .call::<Delete>(node, DeleteRequest::unsigned(vec![]));
        let answering = async {
            let request = next_request(&mut pair.node).await;
            assert_eq!(request.protocol, protocols::DELETE_CHUNK);
            answer(request).await;
        };
        let (answered, ()) = soon(async { tokio::join!(delete, answering) }).await;
        assert_eq!(answered, Ok(DeletionOutcomes(vec![])));
        join_all(under_way.into_iter().map(answer)).await;
    }
    for (number, call) in calls.into_iter().enumerate() {
        let blob_id = store(number, 256 * KIB).blob_id;
        assert_eq!(soon(call).await.unwrap(), Ok(answer_for(blob_id)));
    }
}

/// More than a connection takes streams: those that do not fit wait for their turn.
async fn many_small_calls_at_once_are_all_answered(wire: Wire) {
    let pair = Pair::over(wire).await;
    let coordinator = pair.coordinator_id();
    answer_all(pair.coordinator.requests);
    let calls = (0..600).map(|number| {
        let handle = &pair.node.handle;
        async move { handle.call::<Heartbeat>(coordinator, report(number)).await }
    });
    for (number, answered) in soon(join_all(calls)).await.into_iter().enumerate() {
        assert_eq!(answered, Ok(answer_to(&report(number as u64))));
    }
}

async fn heartbeats_are_answered_while_blobs_flow(wire: Wire) {
    let pair = Pair::over(wire).await;
    let (coordinator, node) = (pair.coordinator_id(), pair.node_id());
    answer_all(pair.coordinator.requests);
    answer_all(pair.node.requests);
    let (stored, mut stores) = mpsc::channel(1);
    for lane in 0..8 {
        let (handle, stored) = (pair.coordinator.handle.clone(), stored.clone());
        tokio::spawn(async move {
            loop {
                let answered = handle.call::<Store>(node, store(lane, 256 * KIB)).await;
                if stored.send(answered).await.is_err() {
                    return;
                }
            }
        });
    }
    for _ in 0..10 {
        let flows = soon(stores.recv()).await.unwrap();
        assert!(flows.is_ok(), "{flows:?}");
        heartbeat_is_answered(&pair.node.handle, coordinator).await;
    }
}

async fn a_protocol_is_not_served_against_its_direction(wire: Wire) {
    let pair = Pair::over(wire).await;
    let (coordinator, node) = (pair.coordinator_id(), pair.node_id());
    answer_all(pair.coordinator.requests);
    answer_all(pair.node.requests);

    let backwards = pair.node.handle.call::<Store>(coordinator, store(1, 100));
    assert_eq!(soon(backwards).await, Err(CallError::Unsupported));
    let hello = HelloReport {
        node_id: NodeId::try_from(&[1; 16][..]).unwrap(),
        software: "test".into(),
        capacity_bytes: 0,
        used_bytes: 0,
        free_bytes: 0,
        blob_count: 0,
        draining: false,
        deferred: proto::DeferredPurges::NONE,
        instance: None,
    };
    let backwards = pair.coordinator.handle.call::<Hello>(node, hello);
    assert_eq!(soon(backwards).await, Err(CallError::Unsupported));

    heartbeat_is_answered(&pair.node.handle, coordinator).await;
    store_is_answered(&pair.coordinator.handle, node).await;
}

#[tokio::test]
async fn a_coordinator_does_not_serve_another_coordinator() {
    let one = listening_as(config(Roles::COORDINATOR), Wire::Tcp).await;
    let other = start(config(Roles::COORDINATOR)).await.unwrap();
    let pair = Pair::connected(one, other).await;
    let call = pair
        .node
        .handle
        .call::<Store>(pair.coordinator_id(), store(1, 100));
    let error = soon(call).await.unwrap_err();
    assert_eq!(error, CallError::Unsupported);
    assert!(!error.outcome_unknown());
}

#[tokio::test]
async fn a_peer_that_is_not_connected_is_not_called() {
    let node = start(config(Roles::NODE)).await.unwrap();
    let stranger = config(Roles::COORDINATOR).keypair.public().to_peer_id();
    let error = soon(node.handle.call::<Heartbeat>(stranger, report(1)))
        .await
        .unwrap_err();
    assert_eq!(error, CallError::NotConnected);
    assert!(!error.outcome_unknown());
}
