//! Files of the class `dense`: pieces onto nodes and back, and what becomes of them when nodes go.

use std::collections::BTreeSet;

use http::StatusCode;
use model::ids::FileId;
use model::node_state::NodeState;
use model::scheme::Scheme;
use proto::NodeId;
use serde_json::Value;
use sqlx::PgPool;

use crate::repair::{
    comes_back, earnings_are_right, enters, goes_away, held_by, queue, repair_all,
    the_database_goes_by_the_rule,
};
use crate::restore_mode::{adopt_all, back_up, restore};
use crate::support::{CHUNK, Client, Coordinator, Node, OnRead, OnStore, content, count};

/// Of 3 pieces of data, each as long as a chunk of copies.
const LONG: usize = 3 * CHUNK;
/// Long enough to be coded, and its last chunk is short.
const SIZE: usize = 4 * LONG + 1001;
const CHUNKS: i64 = 5;

async fn fleet(pool: &PgPool, nodes: usize) -> (Coordinator, Vec<Node>, Client) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let mut fleet = Vec::new();
    for _ in 0..nodes {
        fleet.push(Node::join(&coordinator).await);
    }
    let (_, client) = coordinator.customer().await;
    (coordinator, fleet, client)
}

async fn dense(client: &Client, text: &[u8]) -> Value {
    let call = client.upload_call("a", text).header("x-fsn-class", "dense");
    call.send().await.expect(StatusCode::CREATED)
}

fn id(file: &Value) -> FileId {
    file["file_id"].as_str().unwrap().parse().unwrap()
}

/// Chunks that have all their six pieces, each on another node that is there.
async fn whole(pool: &PgPool) -> i64 {
    let whole = "SELECT count(*) FROM (
             SELECT 1 FROM replicas JOIN nodes USING (node_id)
             WHERE demoted_at IS NULL AND away_since IS NULL GROUP BY file_id, chunk_index
             HAVING count(*) = 6 AND count(DISTINCT piece) = 6 AND count(DISTINCT node_id) = 6
                AND max(piece) = 5) AS chunk";
    count(pool, whole).await
}

async fn range(client: &Client, file: &Value, range: &str) -> Vec<u8> {
    let path = format!("/api/v1/files/{}/download", id(file));
    let answer = client.call(http::Method::GET, &path).header("range", range);
    let answer = answer.send().await;
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    answer.bytes().to_vec()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_dense_file_lies_in_pieces_on_nodes_of_their_own_and_is_billed_for_what_it_takes(
    pool: PgPool,
) {
    let (coordinator, _nodes, client) = fleet(&pool, 7).await;
    let text = content(SIZE);
    let file = dense(&client, &text).await;
    assert_eq!(file["class"], "dense");
    assert_eq!(file["chunk_size_bytes"], LONG);
    assert_eq!(whole(&pool).await, CHUNKS);
    assert!(client.content(&file).await == text);

    // Six pieces of a third of what is billed, here the least of 64 KiB.
    let stored = 6 * 2 * 65_536_u64.div_ceil(6);
    let price = (stored * 1_250_000).div_ceil(1_000_000_000);
    assert_eq!(client.balances().await.2, price as i64);
    let usage = client
        .get("/api/v1/auth/me/usage")
        .await
        .expect(StatusCode::OK);
    assert_eq!(usage["month_microcredits"], price as i64);
    // Nodes earn for what lies on them.
    let earned = "SELECT sum(b)::bigint FROM earning_events, unnest(bytes) AS b";
    let full = 4 * 6 * CHUNK as i64;
    let last = 6 * 2 * 1001_u64.div_ceil(6);
    assert_eq!(count(&pool, earned).await, full + last as i64);
    earnings_are_right(&coordinator).await;
    let path = format!("/api/v1/files/{}/durability", id(&file));
    let durability = client.get(&path).await.expect(StatusCode::OK);
    let figures =
        ["replication_target", "needed", "min_healthy"].map(|name| durability[name].clone());
    assert_eq!(figures, [6, 3, 6]);
    let deleted = client.delete(&format!("/api/v1/files/{}", id(&file))).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    coordinator.forget().await;
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn whatever_the_way_of_the_upload_the_same_bytes_come_back(pool: PgPool) {
    let (_coordinator, _nodes, client) = fleet(&pool, 6).await;
    let text = content(SIZE);
    // Of unknown length.
    let call = client
        .put("/api/v1/files?filename=b")
        .header("x-fsn-class", "dense");
    let call = call.body(axum::body::Body::from_stream(futures::stream::iter([
        Ok::<_, std::io::Error>(text.clone()),
    ])));
    let call = call.header("transfer-encoding", "chunked");
    let streamed = call.send().await.expect(StatusCode::CREATED);
    assert_eq!(streamed["class"], "dense");
    assert!(client.content(&streamed).await == text);

    // In steps.
    let body = serde_json::json!({"filename": "c", "size_bytes": SIZE}).to_string();
    let call = client
        .post("/api/v1/files/upload/initiate")
        .header("x-fsn-class", "dense");
    let upload = call.body(body).send().await.expect(StatusCode::CREATED);
    assert_eq!(upload["chunk_size_bytes"], LONG);
    for (index, chunk) in text.chunks(LONG).enumerate().rev() {
        let sent = client.send_chunk(&upload, index, chunk).await;
        assert_eq!(sent.expect(StatusCode::OK)["replicas"], 6);
    }
    let stepped = client.complete(&upload).await.expect(StatusCode::CREATED);
    assert_eq!(
        (&stepped["sha256"], &stepped["class"]),
        (&streamed["sha256"], &streamed["class"])
    );
    assert!(client.content(&stepped).await == text);
    assert_eq!(whole(&pool).await, 2 * CHUNKS);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn any_three_of_six_nodes_give_a_file_back(pool: PgPool) {
    let (coordinator, nodes, client) = fleet(&pool, 6).await;
    let text = content(SIZE);
    let file = dense(&client, &text).await;
    for lost in [[0, 1, 2], [3, 4, 5], [0, 2, 4]] {
        for node in lost {
            nodes[node].on_read(OnRead::Deny);
        }
        assert!(client.content(&file).await == text, "{lost:?}");
        let cut = range(&client, &file, "bytes=12000-30000").await;
        assert!(cut == text[12_000..=30_000]);
        for node in lost {
            nodes[node].on_read(OnRead::Give);
        }
    }
    for node in &nodes[..4] {
        node.on_read(OnRead::Deny);
    }
    let refused = client.download(&file).await;
    refused.problem(503, "unreadable");
    drop(coordinator);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_range_inside_a_piece_reads_that_piece_only(pool: PgPool) {
    let (_coordinator, nodes, client) = fleet(&pool, 6).await;
    let text = content(SIZE);
    let file = dense(&client, &text).await;
    let holder: uuid::Uuid =
        sqlx::query_scalar("SELECT node_id FROM replicas WHERE chunk_index = 1 AND piece = 1")
            .fetch_one(&pool)
            .await
            .unwrap();
    for node in nodes.iter().filter(|node| node.node_id.as_uuid() != holder) {
        node.on_read(OnRead::Deny);
    }
    let at = LONG + CHUNK; // the second piece of the second chunk
    let inside = format!("bytes={}-{}", at + 10, at + CHUNK - 1);
    let cut = range(&client, &file, &inside).await;
    assert!(cut == text[at + 10..at + CHUNK], "one node is enough");
    let path = format!("/api/v1/files/{}/download", id(&file));
    let call = client.call(http::Method::GET, &path);
    let across = call.header("range", &format!("bytes={}-{at}", at - 1));
    across.send().await.problem(503, "unreadable");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn one_node_more_or_less_changes_nothing_and_a_second_loss_is_repaired(pool: PgPool) {
    let (coordinator, nodes, client) = fleet(&pool, 8).await;
    let text = content(SIZE);
    let file = dense(&client, &text).await;
    let rows = "SELECT count(*) FROM replicas";
    let holders: Vec<NodeId> =
        sqlx::query_scalar("SELECT node_id FROM replicas WHERE chunk_index = 0 ORDER BY piece")
            .fetch_all(&pool)
            .await
            .unwrap()
            .into_iter()
            .map(NodeId::from_uuid)
            .collect();
    goes_away(&pool, holders[0]).await;
    repair_all(&coordinator).await;
    assert_eq!(
        count(&pool, rows).await,
        6 * CHUNKS,
        "the first loss of a chunk waits"
    );

    let away = |node: &&Node| [holders[0], holders[1]].contains(&node.node_id);
    for node in nodes.iter().filter(away) {
        node.on_read(OnRead::Deny);
    }
    goes_away(&pool, holders[1]).await;
    repair_all(&coordinator).await;
    let of_first = "SELECT count(DISTINCT piece) FROM replicas JOIN nodes USING (node_id)
                    WHERE chunk_index = 0 AND away_since IS NULL";
    assert_eq!(count(&pool, of_first).await, 6, "up to all of them");
    assert!(queue(&pool).await.is_empty());
    assert!(client.content(&file).await == text);

    for node in nodes.iter().filter(away) {
        node.on_read(OnRead::Give);
    }
    for node in [holders[0], holders[1]] {
        comes_back(&pool, node).await;
    }
    repair_all(&coordinator).await;
    assert_eq!(whole(&pool).await, CHUNKS, "what is there twice goes");
    assert_eq!(count(&pool, rows).await, 6 * CHUNKS);
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_drains_hands_its_pieces_on_and_no_other_is_read_for_it(pool: PgPool) {
    let (coordinator, nodes, client) = fleet(&pool, 7).await;
    let text = content(SIZE);
    let file = dense(&client, &text).await;
    let leaving = &nodes[0];
    let held = held_by(&pool, leaving.node_id).await;
    assert!(held > 0);
    for other in &nodes[1..] {
        other.on_read(OnRead::Refuse);
    }
    enters(&pool, leaving.node_id, NodeState::Draining).await;
    repair_all(&coordinator).await;
    assert_eq!(held_by(&pool, leaving.node_id).await, 0);
    for other in &nodes[1..] {
        other.on_read(OnRead::Give);
    }
    assert_eq!(whole(&pool).await, CHUNKS);
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_refuses_is_replaced_and_gets_no_piece(pool: PgPool) {
    let (coordinator, nodes, client) = fleet(&pool, 8).await;
    nodes[0].on_store(OnStore::Refuse);
    nodes[1].on_store(OnStore::Refuse);
    let text = content(SIZE);
    let file = dense(&client, &text).await;
    assert_eq!(whole(&pool).await, CHUNKS);
    assert!(client.content(&file).await == text);
    for node in &nodes[..2] {
        assert_eq!(held_by(&pool, node.node_id).await, 0);
    }
    earnings_are_right(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_class_that_the_fleet_is_too_small_for_is_refused_and_short_files_are_copied(
    pool: PgPool,
) {
    let (coordinator, mut nodes, client) = fleet(&pool, 5).await;
    let text = content(SIZE);
    let call = client
        .upload_call("a", &text)
        .header("x-fsn-class", "dense");
    let refused = call.send().await.problem(503, "class-unavailable");
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.contains("needs 6") && detail.contains('5'),
        "{detail}"
    );
    let unknown = client
        .upload_call("a", &text)
        .header("x-fsn-class", "glacier");
    unknown.send().await.problem(400, "invalid-request");
    let classes = client.get("/api/v1/classes").await.expect(StatusCode::OK);
    assert_eq!(classes["classes"][0]["scheme"]["needed"], 1);
    assert!(classes["classes"][1]["unavailable"].is_string());

    nodes.push(Node::join(&coordinator).await);
    let classes = client.get("/api/v1/classes").await.expect(StatusCode::OK);
    let scheme = &classes["classes"][1]["scheme"];
    assert_eq!(
        (&scheme["needed"], &scheme["pieces"]),
        (&3.into(), &6.into())
    );
    let standard = &classes["classes"][0]["scheme"]["microcredits_per_gb_month"];
    let two_thirds = standard.as_i64().unwrap() * 2 / 3;
    let dense_price = scheme["microcredits_per_gb_month"].as_i64().unwrap();
    assert!((dense_price - two_thirds).abs() <= 10, "{dense_price}");

    let short = dense(&client, &text[..49_151]).await;
    assert_eq!(short["class"], "standard");
    assert!(client.content(&short).await == text[..49_151]);
    let long = dense(&client, &text[..49_152]).await;
    assert_eq!(long["class"], "dense");
    let empty = dense(&client, &[]).await;
    assert_eq!(empty["class"], "standard");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_database_finds_the_coded_chunks_that_the_rule_would_act_on(pool: PgPool) {
    let (_coordinator, _nodes, client) = fleet(&pool, 9).await;
    let file = dense(&client, &content(SIZE)).await;
    let more = "INSERT INTO replicas (node_id, blob_id, file_id, chunk_index, stored_at_ms, signature, earns, piece)
                SELECT node_id, sha256(node_id::text::bytea), $1, 0, 0, decode(repeat('00', 64), 'hex'), false,
                       floor(random() * 6)
                FROM nodes WHERE node_id NOT IN (SELECT node_id FROM replicas WHERE chunk_index = 0)";
    let more = sqlx::query(more).bind(id(&file).as_uuid());
    more.execute(&pool).await.unwrap();
    let scheme = Scheme::coded(3, 6).unwrap();
    the_database_goes_by_the_rule(&pool, id(&file), scheme).await;
    for needed in [1, 3, 8] {
        for bytes in [1_i32, 2, 7, 4096, 262_144, 12_287] {
            let scheme = Scheme::of_row(needed, 12);
            let told: i32 = sqlx::query_scalar("SELECT piece_bytes($1, $2)")
                .bind(bytes)
                .bind(needed)
                .fetch_one(&pool)
                .await
                .unwrap();
            let expected = scheme.piece_len(bytes.unsigned_abs().into());
            assert_eq!(u64::from(told.unsigned_abs()), expected);
        }
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn pieces_that_moved_since_a_backup_are_found_by_their_locators(pool: PgPool) {
    let (coordinator, nodes, client) = fleet(&pool, 8).await;
    let text = content(SIZE);
    let file = dense(&client, &text).await;
    back_up(&pool).await;
    enters(&pool, nodes[0].node_id, NodeState::Draining).await;
    enters(&pool, nodes[1].node_id, NodeState::Draining).await;
    repair_all(&coordinator).await;
    let names = |rows: Vec<(i32, i16)>| rows.into_iter().collect::<BTreeSet<_>>();
    let where_now = "SELECT chunk_index, piece FROM replicas JOIN nodes USING (node_id)
                     WHERE state <> 'draining' AND demoted_at IS NULL";
    let before = names(sqlx::query_as(where_now).fetch_all(&pool).await.unwrap());
    for node in &nodes[..2] {
        node.hold_only([].iter());
    }
    restore(&coordinator).await;
    adopt_all(&coordinator).await;
    repair_all(&coordinator).await;
    let after = names(sqlx::query_as(where_now).fetch_all(&pool).await.unwrap());
    assert_eq!(after, before);
    assert_eq!(whole(&pool).await, CHUNKS);
    assert!(client.content(&file).await == text);
    earnings_are_right(&coordinator).await;
}
