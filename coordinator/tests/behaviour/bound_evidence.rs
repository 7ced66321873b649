//! Evidence is bound to the owner's file: what a coordinator signs of each blob, and blobs that are opened.

use bytes::BytesMut;
use coordinator::database::Pool;
use http::StatusCode;
use model::ids::FileId;
use proto::evidence::{Receipts, Sealed, StatementItem};
use proto::{ChunkOpening, ChunkStatement};
use sealing::{ChunkRef, OpenError};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::evidence::{printed, prove, receipts, stored, verify};
use crate::repair::{goes_away, repair_all};
use crate::support::{CHUNK, Client, Coordinator, Node, OnRead, content, count, eventually};

const SEED: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

async fn show(client: &Client, id: &str, index: u32, node: &Node) -> crate::support::Answer {
    let path = api::paths::file_sealed(id.parse().unwrap(), index, node.node_id);
    client.get(&path).await
}

async fn shown(client: &Client, id: &str, index: u32, node: &Node) -> Value {
    show(client, id, index, node).await.expect(StatusCode::OK)
}

fn chunk(id: &str, index: u32) -> ChunkRef {
    let file_id = id.parse().unwrap();
    ChunkRef { file_id, index }
}

fn key_of(sealed: &Sealed) -> [u8; 32] {
    let bytes = hex::decode(&sealed.chunk_key).unwrap();
    bytes.try_into().unwrap()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_owner_has_a_copy_opened_and_sees_that_it_is_his(pool: PgPool) {
    let (_coordinator, nodes, client, id) = stored(&pool, 2).await;
    let receipts = receipts(&client, &id, "").await;
    let sealed = shown(&client, &id, 1, &nodes[0]).await;
    let held: Vec<String> = nodes[0].blobs().iter().map(ToString::to_string).collect();
    let blob = sealed["receipt"]["blob_id"].as_str().unwrap();
    assert!(held.iter().any(|held| held == blob));

    let dir = tempfile::tempdir().unwrap();
    let (mine, other) = (dir.path().join("mine"), dir.path().join("other"));
    std::fs::write(&mine, content(2 * CHUNK)).unwrap();
    let mut bytes = content(2 * CHUNK);
    bytes[CHUNK + 1] ^= 1;
    std::fs::write(&other, bytes).unwrap();
    let compared = |file: &std::path::Path| {
        let options = ["--file-id", &id, "--content", file.to_str().unwrap()];
        verify(dir.path(), &[&receipts, &sealed], &options)
    };
    let output = compared(&mine);
    let said = printed(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 copies are opened"), "{said}");
    assert!(
        said.contains(&format!("6 of 6 receipts are bound to file {id}")),
        "{said}"
    );
    assert!(said.contains("2 chunks is true of your file"), "{said}");
    let output = compared(&other);
    assert!(!output.status.success());
    assert!(
        printed(&output).contains("chunk 1 is not what"),
        "{}",
        printed(&output)
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_is_shown_opens_its_chunk_on_every_node_and_no_other_chunk(pool: PgPool) {
    let (_coordinator, nodes, client, id) = stored(&pool, 2).await;
    let of_node = async |node| -> Sealed {
        serde_json::from_value(shown(&client, &id, 0, node).await).unwrap()
    };
    let sealed = [of_node(&nodes[0]).await, of_node(&nodes[1]).await];
    assert_ne!(sealed[0].receipt.blob_id, sealed[1].receipt.blob_id);
    assert_ne!(sealed[0].blob, sealed[1].blob);
    let key = key_of(&sealed[0]);
    assert_eq!(key, key_of(&sealed[1]));
    let held = nodes.iter().flat_map(Node::contents);
    let opened = held.map(|(_, blob)| {
        [0, 1].map(|index| {
            let blob = BytesMut::from(&blob[..]);
            let content = sealing::content_of(&key, chunk(&id, index), blob);
            content != Err(OpenError)
        })
    });
    let opened: Vec<[bool; 2]> = opened.collect();
    assert_eq!(
        opened
            .iter()
            .filter(|which| **which == [true, false])
            .count(),
        3
    );
    assert_eq!(
        opened
            .iter()
            .filter(|which| **which == [false, false])
            .count(),
        3
    );
}

/// A coordinator shows the owner of A what it has of B, whose copies are there.
#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn evidence_of_another_owners_file_is_refused_and_relabelling_it_refutes(pool: PgPool) {
    let (coordinator, nodes, a, id_a) = stored(&pool, 1).await;
    let (_, b) = coordinator.customer().await;
    let file_b = b.upload("b", &[7; CHUNK]).await;
    let id_b = file_b["file_id"].as_str().unwrap();
    let of_b = receipts(&b, id_b, "").await;
    let proof = prove(&b, id_b, &json!({"seed": SEED})).await;
    let dir = tempfile::tempdir().unwrap();
    let verify = |documents: &[&Value]| verify(dir.path(), documents, &["--file-id", &id_a]);

    let output = verify(&[&of_b, &proof]);
    assert!(!output.status.success());
    assert!(
        printed(&output).contains(&format!("it is of file {id_b}")),
        "{}",
        printed(&output)
    );
    // Without what binds them they show nothing either, as they did before there was such a thing.
    let mut unbound = of_b.clone();
    for item in unbound["items"].as_array_mut().unwrap() {
        item.as_object_mut().unwrap().remove("statement").unwrap();
    }
    let output = verify(&[&unbound, &proof]);
    assert!(!output.status.success());
    assert!(
        printed(&output).contains("bound to no file"),
        "{}",
        printed(&output)
    );

    // So it signs that they are A's. Whatever it shows under such a name then refutes it.
    let ours: Receipts = serde_json::from_value(receipts(&a, &id_a, "").await).unwrap();
    let ours = ours.items[0].statement.as_ref().unwrap().open().unwrap();
    let identity = &coordinator.app.keys.ring.identity;
    let relabelled = |item: &StatementItem| {
        let statement = ChunkStatement {
            blob_id: item.blob_id,
            ..ours.clone()
        };
        let signature = statement.sign(identity).unwrap();
        (StatementItem::new(&statement, signature), statement)
    };
    let mut lying: Receipts = serde_json::from_value(of_b).unwrap();
    for item in &mut lying.items {
        item.statement = item.statement.as_ref().map(|item| relabelled(item).0);
    }
    let lying = serde_json::to_value(lying).unwrap();
    let output = verify(&[&lying, &proof]);
    assert!(
        output.status.success(),
        "nothing was opened yet: {}",
        printed(&output)
    );

    let sealed = shown(&b, id_b, 0, &nodes[0]).await;
    let mut sealed: Sealed = serde_json::from_value(sealed).unwrap();
    let (item, statement) = relabelled(sealed.receipt.statement.as_ref().unwrap());
    let opening = ChunkOpening {
        statement: &statement,
        chunk_key: &key_of(&sealed),
    };
    sealed.opening_signature = opening.sign(identity).unwrap().to_string();
    sealed.receipt.statement = Some(item);
    let sealed = serde_json::to_value(sealed).unwrap();
    let output = verify(&[&lying, &proof, &sealed]);
    assert!(!output.status.success());
    assert!(printed(&output).contains("REFUTED"), "{}", printed(&output));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn of_a_file_no_more_chunks_are_opened_in_a_day_than_may_be(pool: PgPool) {
    let (_coordinator, nodes, client, id) = stored(&pool, 3).await;
    shown(&client, &id, 1, &nodes[0]).await;
    let refused = show(&client, &id, 2, &nodes[0]).await;
    refused.problem(429, "opened-enough");
    let pause: u64 = refused.header("retry-after").parse().unwrap();
    assert!((86_000..=86_401).contains(&pause), "{pause}");
    // What is open stays open.
    shown(&client, &id, 1, &nodes[1]).await;
    let yesterday = "UPDATE opened_chunks SET opened_at = opened_at - interval '1 day'";
    sqlx::query(yesterday).execute(&pool).await.unwrap();
    shown(&client, &id, 2, &nodes[0]).await;
    shown(&client, &id, 1, &nodes[2]).await;
    show(&client, &id, 0, &nodes[0])
        .await
        .problem(429, "opened-enough");
    assert_eq!(count(&pool, "SELECT count(*) FROM opened_chunks").await, 2);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn two_chunks_that_are_asked_for_at_once_are_not_both_opened(pool: PgPool) {
    let (_coordinator, nodes, client, id) = stored(&pool, 4).await;
    let asked = (0..4).map(|index| show(&client, &id, index, &nodes[0]));
    let answers = futures::future::join_all(asked).await;
    let opened = answers
        .iter()
        .filter(|answer| answer.status == StatusCode::OK);
    assert_eq!(opened.count(), 1);
    assert_eq!(count(&pool, "SELECT count(*) FROM opened_chunks").await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_larger_share_opens_more(pool: PgPool) {
    let settings = ["evidence.open_share=0.5"];
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &settings).await;
    let (_, client) = coordinator.customer().await;
    let file = client.upload("a", &content(5 * CHUNK)).await;
    let id = file["file_id"].as_str().unwrap();
    for index in [0, 4] {
        shown(&client, id, index, &nodes[0]).await;
    }
    show(&client, id, 1, &nodes[0])
        .await
        .problem(429, "opened-enough");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_copy_that_its_node_does_not_give_is_told_noted_and_not_opened(pool: PgPool) {
    let (_coordinator, nodes, client, id) = stored(&pool, 1).await;
    for conduct in [OnRead::Flip, OnRead::Deny, OnRead::Refuse] {
        nodes[0].on_read(conduct);
        let refused = show(&client, &id, 0, &nodes[0]).await;
        refused.problem(503, "unreadable");
        assert!(!String::from_utf8_lossy(refused.bytes()).contains("chunk_key"));
    }
    eventually(|| async {
        let suspect = "SELECT count(*) FROM replicas WHERE suspect_reason IS NOT NULL";
        (count(&pool, suspect).await == 1).then_some(())
    })
    .await;
    assert_eq!(count(&pool, "SELECT count(*) FROM opened_chunks").await, 0);
    shown(&client, &id, 0, &nodes[1]).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn copies_are_shown_to_the_owner_only_and_within_bounds(pool: PgPool) {
    let (coordinator, nodes, client, id) = stored(&pool, 1).await;
    let (_, stranger) = coordinator.customer().await;
    show(&stranger, &id, 0, &nodes[0])
        .await
        .problem(404, "not-found");
    show(&client, &id, 1, &nodes[0])
        .await
        .problem(422, "chunk-out-of-range");
    show(&client, &id, u32::MAX, &nodes[0])
        .await
        .problem(422, "chunk-out-of-range");
    let newcomer = Node::join(&coordinator).await;
    show(&client, &id, 0, &newcomer)
        .await
        .problem(404, "not-found");
    let node = nodes[0].node_id;
    for wrong in [
        String::new(),
        "?index=0".to_owned(),
        format!("?index=-1&node={node}"),
        format!("?index=0&node={node}&seed=1"),
        "?index=0&node=%00".to_owned(),
    ] {
        let path = format!("/api/v1/files/{id}/sealed{wrong}");
        client.get(&path).await.problem(400, "invalid-request");
    }
    client
        .delete(&format!("/api/v1/files/{id}"))
        .await
        .expect(StatusCode::NO_CONTENT);
    show(&client, &id, 0, &nodes[0])
        .await
        .problem(404, "not-found");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn receipts_and_durability_carry_the_same_statement(pool: PgPool) {
    let (_coordinator, _nodes, client, id) = stored(&pool, 2).await;
    let receipts = receipts(&client, &id, "").await;
    let path = format!("/api/v1/files/{id}/durability");
    let durability = client.get(&path).await.expect(StatusCode::OK);
    let chunks = durability["chunks"].as_array().unwrap().iter();
    let replicas = chunks.flat_map(|chunk| chunk["replicas"].as_array().unwrap());
    let stated: Vec<&Value> = replicas.map(|replica| &replica["statement"]).collect();
    let items = receipts["items"].as_array().unwrap();
    assert_eq!(
        stated,
        items
            .iter()
            .map(|item| &item["statement"])
            .collect::<Vec<_>>()
    );
    let statement: StatementItem = serde_json::from_value(stated[0].clone()).unwrap();
    let statement = statement.open().unwrap();
    assert_eq!(statement.file_id.to_string(), id);
    assert_eq!((statement.index, statement.chunk_bytes), (0, CHUNK as u32));
    let dir = tempfile::tempdir().unwrap();
    let output = verify(dir.path(), &[&durability, &receipts], &[]);
    assert!(
        printed(&output).contains("6 of 6 receipts are bound"),
        "{}",
        printed(&output)
    );
}

async fn sealing_of(pool: &PgPool, file: &Value) -> i64 {
    let id: FileId = file["file_id"].as_str().unwrap().parse().unwrap();
    let query = sqlx::query_scalar("SELECT sealing::bigint FROM files WHERE file_id = $1");
    query.bind(id.as_uuid()).fetch_one(pool).await.unwrap()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn while_a_coordinator_of_the_release_before_runs_new_files_are_such_as_it_can_read(
    pool: PgPool,
) {
    let (coordinator, mut nodes, client, new, text) = crate::repair::fleet(&pool, 2, &[]).await;
    assert_eq!(sealing_of(&pool, &new).await, 2);
    // As that release says that it runs.
    let runs = "INSERT INTO running_coordinators (peer_id, key_ids) VALUES ('an older one', '{}')";
    sqlx::query(runs).execute(&pool).await.unwrap();
    let ring = &coordinator.app.keys.ring;
    ring.refresh(&Pool::new(pool.clone())).await.unwrap();
    let old = client.upload("old", &text).await;
    let small = client.upload("small", b"a few bytes").await;
    let steps = client
        .initiate("steps", CHUNK)
        .await
        .expect(StatusCode::CREATED);
    sqlx::query("DELETE FROM running_coordinators")
        .execute(&pool)
        .await
        .unwrap();
    ring.refresh(&Pool::new(pool.clone())).await.unwrap();
    // What was begun in the old way goes on in it.
    client
        .send_chunk(&steps, 0, &text[..CHUNK])
        .await
        .expect(StatusCode::OK);
    let steps = client.complete(&steps).await.expect(StatusCode::CREATED);
    let after = client.upload("after", &text).await;
    for (file, sealing) in [(&old, 1), (&small, 1), (&steps, 1), (&after, 2)] {
        assert_eq!(sealing_of(&pool, file).await, sealing, "{file}");
    }

    // Both kinds are repaired, each in its own way, and read.
    for _ in 0..2 {
        let gone = nodes.remove(0);
        goes_away(&pool, gone.node_id).await;
        gone.leave(&coordinator).await;
        repair_all(&coordinator).await;
    }
    assert_eq!(crate::repair::chunks_with(&pool, 3).await, 8);
    for (file, bytes) in [
        (&new, &text[..]),
        (&old, &text[..]),
        (&small, b"a few bytes"),
        (&steps, &text[..CHUNK]),
        (&after, &text[..]),
    ] {
        assert!(client.content(file).await == bytes, "{file}");
    }
    // Those that have gone have receipts, too, until they are back or forgotten.
    let node = |held: &Value| {
        let items = held["items"].as_array().unwrap().iter();
        let held_by = |item: &Value| {
            let id = item["node_id"].as_str().unwrap();
            nodes.iter().find(|node| node.node_id.to_string() == id)
        };
        items.clone().find_map(held_by).unwrap()
    };
    for (file, opens) in [(&new, true), (&old, false)] {
        let id = file["file_id"].as_str().unwrap();
        let answer = show(&client, id, 0, node(&receipts(&client, id, "").await)).await;
        match opens {
            true => drop(answer.expect(StatusCode::OK)),
            false => drop(answer.problem(409, "not-openable")),
        }
    }
}
