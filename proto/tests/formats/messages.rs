//! What every message does with what peers may send: valid values, damage, noise, and too much.

use bytes::Bytes;
use proptest::prelude::*;
use proto::{
    BlobId, ChallengeRequest, DeferredPurges, DeleteRequest, Deletion, DeletionMode,
    DeletionOutcome, DeletionOutcomes, HeartbeatAnswer, HeartbeatReport, HelloAnswer, HelloReport,
    InventoryAnswer, InventoryRequest, Locator, LossNoted, LossReport, MAX_DELETIONS_PER_MESSAGE,
    MAX_LOSSES_PER_MESSAGE, Message, NodeActivity, NodeId, OrderSeal, ProofAnswer, Refusal,
    RefusalCode, RequestId, RetrieveAnswer, RetrieveRequest, Signature, StoreAnswer, StoreRequest,
    protocols, wire,
};

use crate::message_vectors::message_bytes;
use crate::values;

/// Whatever can be read is a value that survives being sent on.
fn reads_soundly<M: Message + Clone + PartialEq + std::fmt::Debug>(bytes: &Bytes) {
    if let Ok(value) = M::from_bytes(bytes.clone()) {
        let again = M::from_bytes(value.clone().into_frame().to_bytes());
        assert_eq!(again, Ok(value));
    }
}

pub(crate) fn every_message_reads_soundly(bytes: &Bytes) {
    reads_soundly::<HelloReport>(bytes);
    reads_soundly::<HelloAnswer>(bytes);
    reads_soundly::<HeartbeatReport>(bytes);
    reads_soundly::<HeartbeatAnswer>(bytes);
    reads_soundly::<StoreRequest>(bytes);
    reads_soundly::<StoreAnswer>(bytes);
    reads_soundly::<RetrieveRequest>(bytes);
    reads_soundly::<RetrieveAnswer>(bytes);
    reads_soundly::<DeleteRequest>(bytes);
    reads_soundly::<DeletionOutcomes>(bytes);
    reads_soundly::<LossReport>(bytes);
    reads_soundly::<LossNoted>(bytes);
    reads_soundly::<InventoryRequest>(bytes);
    reads_soundly::<InventoryAnswer>(bytes);
    reads_soundly::<ChallengeRequest>(bytes);
    reads_soundly::<ProofAnswer>(bytes);
}

macro_rules! round_trips {
    ($($test:ident: $strategy:expr;)*) => {
        proptest! {$(
            #[test]
            fn $test(value in $strategy) {
                let bytes = value.clone().into_frame().to_bytes();
                prop_assert_eq!(Message::from_bytes(bytes), Ok(value));
            }
        )*}
    };
}

round_trips! {
    a_hello_report_arrives_as_it_was_sent: values::hello_report();
    a_hello_answer_arrives_as_it_was_sent: values::hello_answer();
    a_heartbeat_report_arrives_as_it_was_sent: values::heartbeat_report();
    a_heartbeat_answer_arrives_as_it_was_sent: values::heartbeat_answer();
    a_store_request_arrives_as_it_was_sent: values::store_request();
    a_store_answer_arrives_as_it_was_sent: values::store_answer();
    a_retrieve_request_arrives_as_it_was_sent: values::retrieve_request();
    a_retrieve_answer_arrives_as_it_was_sent: values::retrieve_answer();
    delete_requests_arrive_as_they_were_sent: values::delete_request();
    deletion_outcomes_arrive_as_they_were_sent: values::deletion_outcomes();
    loss_reports_arrive_as_they_were_sent: values::loss_report();
    inventory_requests_arrive_as_they_were_sent: values::inventory_request();
    inventory_answers_arrive_as_they_were_sent: values::inventory_answer();
    challenges_arrive_as_they_were_sent: values::challenge_request();
    proofs_arrive_as_they_were_sent: values::proof_answer();
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes: Vec<u8>) {
        every_message_reads_soundly(&bytes.into());
    }

    #[test]
    fn a_valid_message_with_flipped_bits_is_read_or_refused(
        vector: prop::sample::Index,
        flips in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
    ) {
        let vectors = message_bytes();
        let mut bytes = vector.get(&vectors).clone();
        prop_assume!(!bytes.is_empty());
        for (place, flip) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
        }
        every_message_reads_soundly(&bytes.into());
    }

    #[test]
    fn a_blob_is_handed_to_the_socket_from_where_it_lies(request in values::store_request()) {
        let lies_at = request.data.as_ptr_range();
        prop_assert_eq!(request.into_frame().body.as_ptr_range(), lies_at);
    }

    #[test]
    fn a_stored_blob_is_a_slice_of_its_frame(request in values::store_request()) {
        let frame = request.into_frame().to_bytes();
        let data = StoreRequest::from_bytes(frame.clone()).unwrap().data;
        prop_assert_eq!(data.as_ptr_range().end, frame.as_ptr_range().end);
    }

    #[test]
    fn a_retrieved_blob_is_a_slice_of_its_frame(blob in values::blob()) {
        let frame = RetrieveAnswer::Found(blob).into_frame().to_bytes();
        let Ok(RetrieveAnswer::Found(data)) = RetrieveAnswer::from_bytes(frame.clone()) else {
            panic!("not found");
        };
        prop_assert_eq!(data.as_ptr_range().end, frame.as_ptr_range().end);
    }
}

#[test]
fn a_valid_message_that_is_cut_short_is_read_or_refused() {
    for bytes in message_bytes() {
        for end in 0..bytes.len() {
            every_message_reads_soundly(&Bytes::copy_from_slice(&bytes[..end]));
        }
    }
}

#[test]
fn instance_numbers_have_sixteen_bytes_and_no_end_of_them_is_read() {
    let said = |instance: usize, earlier: &[usize]| {
        let message = wire::HelloRequest {
            node_id: Bytes::from(vec![1; 16]),
            instance: Bytes::from(vec![2; instance]),
            earlier_instances: earlier
                .iter()
                .map(|len| Bytes::from(vec![3; *len]))
                .collect(),
            ..wire::HelloRequest::default()
        };
        HelloReport::from_bytes(prost::Message::encode_to_vec(&message).into())
    };
    assert_eq!(said(0, &[]).unwrap().instance, None);
    assert_eq!(
        said(16, &[16; 16]).unwrap().instance.unwrap().earlier.len(),
        16
    );
    for (instance, earlier) in [(15, &[][..]), (17, &[]), (16, &[15]), (16, &[16; 17])] {
        assert!(said(instance, earlier).is_err(), "{instance} {earlier:?}");
    }
}

#[test]
fn no_message_is_taken_for_a_store_request_when_bytes_of_its_blob_are_missing() {
    let bytes = store_request().into_frame().to_bytes();
    for end in 0..bytes.len() {
        assert!(StoreRequest::from_bytes(bytes.slice(..end)).is_err());
    }
}

#[test]
fn a_store_request_must_state_the_length_that_it_has() {
    let valid = wire_store_request();
    let breaks: [fn(&mut wire::StoreChunkRequest); 6] = [
        |message| message.length += 1,
        |message| message.length = u64::MAX,
        |message| message.data = Bytes::new(),
        |message| message.blob_id = Bytes::from_static(&[0; 31]),
        |message| message.locator = Bytes::from_static(&[0; 65]),
        |message| message.locator = Bytes::new(),
    ];
    assert!(decoded::<StoreRequest>(&valid).is_ok());
    for (index, break_it) in breaks.iter().enumerate() {
        let mut broken = valid.clone();
        break_it(&mut broken);
        assert!(decoded::<StoreRequest>(&broken).is_err(), "break {index}");
    }
}

#[test]
fn values_of_an_enum_that_this_version_does_not_know_are_refused() {
    for unknown in [0, 100, -1] {
        let refusal = wire::Refusal {
            code: unknown,
            ..Default::default()
        };
        let answer = wire::StoreChunkResponse {
            result: Some(wire::store_chunk_response::Result::Refusal(refusal)),
        };
        assert!(decoded::<StoreAnswer>(&answer).is_err());
        let answer = wire::RetrieveChunkResponse {
            status: unknown,
            ..Default::default()
        };
        assert!(decoded::<RetrieveAnswer>(&answer).is_err());
        let report = wire::HeartbeatRequest {
            state: unknown,
            ..Default::default()
        };
        assert!(decoded::<HeartbeatReport>(&report).is_err());
        let outcomes = wire::DeleteChunkResponse {
            outcomes: vec![unknown],
        };
        assert!(decoded::<DeletionOutcomes>(&outcomes).is_err());
        let deletion = wire::Deletion {
            blob_id: Bytes::from_static(&[0; 32]),
            mode: unknown,
        };
        let deletions = wire::DeleteChunkRequest {
            deletions: vec![deletion],
            ..Default::default()
        };
        assert!(decoded::<DeleteRequest>(&deletions).is_err());
    }
}

#[test]
fn a_store_answer_that_says_nothing_is_refused() {
    assert!(StoreAnswer::from_bytes(Bytes::new()).is_err());
}

#[test]
fn a_count_that_no_column_holds_is_refused() {
    let report = |capacity_bytes| HeartbeatReport {
        capacity_bytes,
        used_bytes: 0,
        free_bytes: 0,
        blob_count: 0,
        activity: NodeActivity::Running,
        deferred: DeferredPurges::NONE,
    };
    let read = |count| HeartbeatReport::from_bytes(report(count).into_frame().to_bytes());
    assert!(read(i64::MAX as u64).is_ok());
    assert!(read(i64::MAX as u64 + 1).is_err());
}

#[test]
fn a_message_holds_a_thousand_deletions_and_fits_its_frame() {
    let deletion = Deletion {
        blob_id: BlobId::of(b""),
        mode: DeletionMode::Restore,
    };
    let read = |count| {
        let request = DeleteRequest {
            deletions: vec![deletion; count],
            seal: Some(OrderSeal {
                issued_at_ms: u64::MAX,
                signature: Signature::from_bytes([7; 64]),
            }),
        };
        let frame = request.into_frame();
        assert!(frame.len() <= protocols::DELETE_CHUNK.max_frame_bytes);
        DeleteRequest::from_bytes(frame.to_bytes())
    };
    assert!(read(MAX_DELETIONS_PER_MESSAGE).is_ok());
    assert!(read(MAX_DELETIONS_PER_MESSAGE + 1).is_err());

    let outcomes = |count| DeletionOutcomes(vec![DeletionOutcome::Done; count]).into_frame();
    let read = |count| DeletionOutcomes::from_bytes(outcomes(count).to_bytes());
    assert!(read(MAX_DELETIONS_PER_MESSAGE).is_ok());
    assert!(read(MAX_DELETIONS_PER_MESSAGE + 1).is_err());
}

#[test]
fn a_message_holds_a_thousand_losses_and_fits_its_frame() {
    let read = |count| {
        let report = LossReport {
            blob_ids: vec![BlobId::of(b""); count],
            reason: "x".repeat(1000),
        };
        let frame = report.into_frame();
        assert!(frame.len() <= protocols::REPORT_LOSS.max_frame_bytes);
        LossReport::from_bytes(frame.to_bytes())
    };
    let read_whole = read(MAX_LOSSES_PER_MESSAGE).unwrap();
    assert_eq!(read_whole.blob_ids.len(), MAX_LOSSES_PER_MESSAGE);
    assert!(read(MAX_LOSSES_PER_MESSAGE + 1).is_err());

    let short = wire::ReportLossRequest {
        blob_ids: vec![Bytes::from_static(&[0; 31])],
        reason: String::new(),
    };
    assert!(decoded::<LossReport>(&short).is_err());
}

#[test]
fn text_for_people_is_cut_at_a_character_on_both_sides() {
    let long = "ä".repeat(400); // 800 bytes
    let cut = "ä".repeat(256);
    let refused = |detail: &str| {
        StoreAnswer::Refused(Refusal {
            code: RefusalCode::Busy,
            detail: detail.to_owned(),
        })
    };
    let sent = refused(&long).into_frame().to_bytes();
    assert!(sent.len() < 530);
    assert_eq!(StoreAnswer::from_bytes(sent), Ok(refused(&cut)));

    let hello = wire::HelloRequest {
        node_id: Bytes::copy_from_slice(NodeId::try_from(&[1; 16][..]).unwrap().as_bytes()),
        software: format!("x{long}"), // the 512th byte is the first half of a character
        ..Default::default()
    };
    let software = decoded::<HelloReport>(&hello).unwrap().software;
    assert_eq!(software, format!("x{}", "ä".repeat(255)));
}

#[test]
fn text_that_was_cut_does_not_keep_the_memory_of_the_whole() {
    let answer = wire::RetrieveChunkResponse {
        status: wire::retrieve_chunk_response::Status::Busy as i32,
        detail: "x".repeat(1_000_000),
        ..Default::default()
    };
    let Ok(RetrieveAnswer::Busy(detail)) = decoded(&answer) else {
        panic!("not busy");
    };
    assert_eq!(detail.len(), 512);
    assert!(detail.capacity() <= 1024, "{}", detail.capacity());
}

#[test]
fn fields_that_a_later_version_adds_are_passed_over() {
    let mut bytes = store_request().into_frame().to_bytes().to_vec();
    bytes.extend_from_slice(&[0xa0, 0x06, 0x01]); // field 100, varint 1
    assert_eq!(StoreRequest::from_bytes(bytes.into()), Ok(store_request()));
}

fn store_request() -> StoreRequest {
    let data = Bytes::from_static(b"a blob");
    StoreRequest {
        blob_id: BlobId::of(&data),
        locator: Locator::from_bytes([7; Locator::LEN]),
        request_id: RequestId::new("0198-a"),
        data,
    }
}

fn wire_store_request() -> wire::StoreChunkRequest {
    prost::Message::decode(store_request().into_frame().to_bytes()).unwrap()
}

fn decoded<M: Message>(message: &impl prost::Message) -> Result<M, proto::Malformed> {
    M::from_bytes(message.encode_to_vec().into())
}
