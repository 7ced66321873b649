//! Nodes against the database: what one has and the other does not know, and what must not be touched.

use std::time::Duration;

use bytes::Bytes;
use coordinator::durability::reconcile;
use coordinator::proofs::audit;
use coordinator::{blobs, durability};
use kit::{Clock, Entropy};

use coordinator::durability::tables::reconcile::{Due, Ended, Outcome};
use proto::{BlobId, DeletionMode, FileId, Locator, NodeId};
use rules::inventory::Findings;
use sealing::{ChunkRef, ChunkVersion};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{
    CHUNK, Client, Coordinator, Node, OnInventory, OnStore, content, count, eventually, purges_of,
};

const HOUR: Duration = Duration::from_secs(3600);
/// As old as an upload can be, and an hour.
const OLD: Duration = Duration::from_secs(25 * 3600);

/// A fleet of three that holds a file of `chunks` chunks, and its owner.
async fn fleet(pool: &PgPool, chunks: usize) -> (Coordinator, [Node; 3], Client, Value) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let file = client.upload("a", &content(chunks * CHUNK)).await;
    (coordinator, nodes, client, file)
}

/// Compares a node now; how that ended.
async fn compare(coordinator: &Coordinator, node: &Node) -> Ended {
    compare_as(coordinator, node, false).await
}

async fn compare_as(coordinator: &Coordinator, node: &Node, forced: bool) -> Ended {
    let mut connection = coordinator.app.db.acquire().await.unwrap();
    let interval = Duration::from_secs(30 * 24 * 3600); // nobody else is due
    durability::tables::reconcile::enter(&mut connection, &[node.node_id], interval)
        .await
        .unwrap();
    let made = durability::tables::reconcile::make_due(&mut connection, node.node_id, forced).await;
    assert!(made.unwrap());
    reconcile::step(&coordinator.app.durability).await.unwrap();
    let all = durability::tables::reconcile::list(&mut connection)
        .await
        .unwrap();
    let status = all
        .into_iter()
        .find(|status| status.node_id == node.node_id);
    status.unwrap().last.unwrap().1
}

fn done(findings: Findings) -> Ended {
    Ended {
        outcome: Outcome::Done,
        detail: String::new(),
        findings,
    }
}

fn same(blobs: u64) -> Findings {
    Findings {
        held: blobs,
        named: blobs,
        ..Findings::default()
    }
}

/// A blob that belongs to this network, as far as its locator goes.
fn sealed(coordinator: &Coordinator, n: u32) -> (Locator, Bytes) {
    let place = ChunkVersion {
        chunk: ChunkRef {
            file_id: FileId::from_uuid(Uuid::from_u128(7)),
            index: n,
        },
        version: 1,
    };
    let master = coordinator.app.keys.ring.master();
    let locator = master
        .seal_locator(&place.into(), &mut Entropy::system().rng())
        .unwrap();
    (locator, Bytes::from(format!("blob {n}")))
}

fn hold(coordinator: &Coordinator, node: &Node, blobs: u32) -> Vec<BlobId> {
    let hold = |n| {
        let (locator, data) = sealed(coordinator, n);
        node.hold(locator, data)
    };
    let mut ids: Vec<_> = (0..blobs).map(hold).collect();
    ids.sort_unstable();
    ids
}

async fn demoted(pool: &PgPool) -> i64 {
    count(
        pool,
        "SELECT count(*) FROM replicas WHERE demoted_at IS NOT NULL",
    )
    .await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn where_both_sides_agree_nothing_changes(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool, 40).await;
    nodes[0].ages(OLD);
    for conduct in [
        OnInventory::Tell,
        OnInventory::TellSlowly(7),
        OnInventory::Lie,
    ] {
        nodes[0].on_inventory(conduct);
        let ended = compare(&coordinator, &nodes[0]).await;
        assert_eq!(ended, done(same(40)), "{conduct:?}");
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, 0);
    assert_eq!(
        count(&pool, "SELECT count(*) FROM audit_follow_ups").await,
        0
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_nothing_names_goes_to_the_trash_once_it_is_older_than_any_upload(pool: PgPool) {
    let (coordinator, nodes, client, file) = fleet(&pool, 5).await;
    let unknown = hold(&coordinator, &nodes[0], 3);
    // It may belong to an upload or a repair that goes on at this moment.
    nodes[0].ages(OLD - Duration::from_secs(1));
    let young = Findings {
        held: 8,
        named: 5,
        ..Findings::default()
    };
    assert_eq!(compare(&coordinator, &nodes[0]).await, done(young));
    assert_eq!(purges_of(&pool, nodes[0].node_id).await, []);

    nodes[0].ages(OLD);
    let old = Findings {
        unknown: 3,
        ..young
    };
    assert_eq!(compare(&coordinator, &nodes[0]).await, done(old));
    assert_eq!(purges_of(&pool, nodes[0].node_id).await, unknown);
    let to_trash = "SELECT count(*) FROM purges WHERE mode = 'trash'";
    assert_eq!(count(&pool, to_trash).await, 3);
    // Being told once is enough.
    assert_eq!(compare(&coordinator, &nodes[0]).await, done(young));

    coordinator.start_workers();
    nodes[0].until(|blobs| blobs.len() == 5).await;
    assert_eq!(nodes[0].trash(), unknown);
    assert_eq!(client.content(&file).await, content(5 * CHUNK));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn chunks_of_an_upload_that_goes_on_are_named_and_stay(pool: PgPool) {
    let (coordinator, nodes, client, _) = fleet(&pool, 1).await;
    let upload = client
        .initiate("b", 2 * CHUNK)
        .await
        .expect(http::StatusCode::CREATED);
    client.send_chunk(&upload, 0, &content(CHUNK)).await;
    nodes[0].ages(OLD);
    assert_eq!(compare(&coordinator, &nodes[0]).await, done(same(2)));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_store_whose_outcome_is_unknown_is_left_to_its_purge(pool: PgPool) {
    let (coordinator, nodes, client, _) = fleet(&pool, 1).await;
    let _fourth = Node::join(&coordinator).await;
    nodes[0].on_store(OnStore::Hang);
    let before = nodes[0].blobs().len();
    while nodes[0].blobs().len() == before {
        client.upload("b", &content(CHUNK)).await; // placement is by chance
    }
    let purges = purges_of(&pool, nodes[0].node_id).await;
    nodes[0].ages(OLD);
    assert_eq!(compare(&coordinator, &nodes[0]).await.findings.unknown, 0);
    assert_eq!(purges_of(&pool, nodes[0].node_id).await, purges);
    let modes = "SELECT count(*) FROM purges WHERE mode <> 'purge'";
    assert_eq!(count(&pool, modes).await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_repair_that_goes_on_keeps_its_blob_whatever_the_clocks_say(pool: PgPool) {
    let (coordinator, nodes, client, file) = fleet(&pool, 2).await;
    // The repair has stored; its row is not there yet, and the node's clock has just jumped a day.
    let blob = nodes[0].blobs()[0];
    let row = "DELETE FROM replicas WHERE blob_id = $1 RETURNING file_id, chunk_index, signature";
    let row = sqlx::query_as::<_, (Uuid, i32, Vec<u8>)>(row).bind(blob.as_bytes().to_vec());
    let (file_id, index, signature) = row.fetch_one(&pool).await.unwrap();
    nodes[0].ages(OLD);
    let ended = compare(&coordinator, &nodes[0]).await;
    assert_eq!(ended.findings.unknown, 1);

    // Now the row is written, before the node has been told anything.
    let insert =
        "INSERT INTO replicas (node_id, blob_id, file_id, chunk_index, stored_at_ms, signature)
                  VALUES ($1, $2, $3, $4, 1, $5)";
    let node = nodes[0].node_id.as_uuid();
    let insert = sqlx::query(insert)
        .bind(node)
        .bind(blob.as_bytes().to_vec());
    insert
        .bind(file_id)
        .bind(index)
        .bind(signature)
        .execute(&pool)
        .await
        .unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let told = blobs::tables::purges::take_due(&mut connection, nodes[0].node_id, 10, HOUR).await;
    assert_eq!(told.unwrap(), []);
    assert_eq!(purges_of(&pool, nodes[0].node_id).await, []);
    assert_eq!(compare(&coordinator, &nodes[0]).await, done(same(2)));
    assert_eq!(client.content(&file).await, content(2 * CHUNK));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_blob_that_was_thrown_away_too_early_is_back_after_the_next_comparison(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool, 3).await;
    let blob = nodes[0].blobs()[1];
    nodes[0].throw_away(blob);
    assert_eq!(nodes[0].trash(), [blob]);
    let ended = compare(&coordinator, &nodes[0]).await;
    assert_eq!((ended.outcome, ended.findings.missing), (Outcome::Done, 1));
    while audit::step(&coordinator.app.proofs, &|| Clock::system().now())
        .await
        .unwrap()
    {}
    assert_eq!(nodes[0].trash(), []);
    assert_eq!(demoted(&pool).await, 0);
    assert_eq!(
        count(&pool, "SELECT count(*) FROM audit_follow_ups").await,
        0
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_is_missing_is_demoted_only_when_a_challenge_confirms_it(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool, 20).await;
    let blobs = nodes[0].blobs();
    nodes[0].on_inventory(OnInventory::Omit(blobs[3]));
    nodes[0].lose(blobs[11]);
    let expected = Findings {
        held: 18,
        named: 20,
        missing: 2,
        ..Findings::default()
    };
    assert_eq!(compare(&coordinator, &nodes[0]).await, done(expected));
    assert_eq!(demoted(&pool).await, 0, "nobody has asked yet");
    while audit::step(&coordinator.app.proofs, &|| Clock::system().now())
        .await
        .unwrap()
    {}
    let demoted = "SELECT blob_id FROM replicas WHERE demoted_at IS NOT NULL";
    let demoted: Vec<Vec<u8>> = sqlx::query_scalar(demoted).fetch_all(&pool).await.unwrap();
    assert_eq!(demoted, [blobs[11].as_bytes().to_vec()]);
    let charged = "SELECT count(*) FROM audit_penalties WHERE kind = 'failed'";
    assert_eq!(count(&pool, charged).await, 1);

    // It is known now, and found again no more.
    nodes[0].on_inventory(OnInventory::Tell);
    let known = Findings {
        held: 19,
        named: 20,
        ..Findings::default()
    };
    assert_eq!(compare(&coordinator, &nodes[0]).await, done(known));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_demoted_replica_that_is_still_held_stays_as_a_last_resort(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool, 3).await;
    let demote = "UPDATE replicas SET demoted_at = now(), demoted_reason = 'a test'";
    sqlx::query(demote).execute(&pool).await.unwrap();
    nodes[0].ages(OLD);
    assert_eq!(compare(&coordinator, &nodes[0]).await, done(same(3)));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_empty_database_throws_nothing_away(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool, 3).await;
    nodes[0].ages(OLD);
    sqlx::query("DELETE FROM chunks")
        .execute(&pool)
        .await
        .unwrap();
    let ended = compare(&coordinator, &nodes[0]).await;
    assert_eq!(ended.outcome, Outcome::HeldBack);
    assert!(ended.detail.contains("names none"), "{}", ended.detail);
    assert_eq!(ended.findings.unknown, 3);
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_old_database_throws_nothing_away_until_an_administrator_says_so(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool, 5).await;
    let unknown = hold(&coordinator, &nodes[0], 101);
    nodes[0].ages(OLD);
    let ended = compare(&coordinator, &nodes[0]).await;
    assert_eq!(ended.outcome, Outcome::HeldBack);
    assert_eq!((ended.findings.held, ended.findings.unknown), (106, 101));
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, 0);
    assert_eq!(
        coordinator
            .app
            .durability
            .metrics
            .reconciles_held_back
            .get(),
        1
    );

    let forced = compare_as(&coordinator, &nodes[0], true).await;
    assert_eq!(forced.outcome, Outcome::Done);
    assert_eq!(purges_of(&pool, nodes[0].node_id).await, unknown);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_wrong_database_demotes_nothing(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool, 101).await;
    for blob in nodes[0].blobs() {
        nodes[0].lose(blob);
    }
    let ended = compare(&coordinator, &nodes[0]).await;
    assert_eq!(
        (ended.outcome, ended.findings.missing),
        (Outcome::HeldBack, 101)
    );
    assert_eq!(
        count(&pool, "SELECT count(*) FROM audit_follow_ups").await,
        0
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_blob_that_was_sealed_under_foreign_keys_is_left_alone(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool, 3).await;
    nodes[0].hold(Locator::from_bytes([9; 64]), Bytes::from_static(b"foreign"));
    nodes[0].ages(OLD);
    let expected = Findings {
        held: 4,
        named: 3,
        foreign: 1,
        ..Findings::default()
    };
    assert_eq!(compare(&coordinator, &nodes[0]).await, done(expected));
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, 0);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_tells_nonsense_or_never_ends_is_given_up_and_tried_again(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool, 3).await;
    nodes[0].ages(OLD);
    for (conduct, why) in [
        (OnInventory::Disorder, "out of order"),
        (OnInventory::NeverEnd, "does not come to an end"),
    ] {
        nodes[0].on_inventory(conduct);
        let ended = compare(&coordinator, &nodes[0]).await;
        assert_eq!(ended.outcome, Outcome::Failed, "{conduct:?}");
        assert!(ended.detail.contains(why), "{}", ended.detail);
    }
    assert_eq!(count(&pool, "SELECT count(*) FROM purges").await, 0);
    let soon = "SELECT count(*) FROM reconcile_schedule
                WHERE outcome = 'failed' AND due_at < now() + interval '11 min'";
    assert_eq!(count(&pool, soon).await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn coordinators_share_the_nodes_and_one_that_lost_its_lease_writes_nothing(pool: PgPool) {
    let (_coordinator, nodes, ..) = fleet(&pool, 1).await;
    let mut connection = pool.acquire().await.unwrap();
    let ids: Vec<NodeId> = nodes.iter().map(|node| node.node_id).collect();
    durability::tables::reconcile::enter(&mut connection, &ids, Duration::ZERO)
        .await
        .unwrap();
    let (mine, theirs) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let take = async |lease, limit| {
        let mut connection = pool.acquire().await.unwrap();
        let taken =
            durability::tables::reconcile::take_due(&mut connection, &ids, lease, HOUR, limit)
                .await;
        taken.unwrap()
    };
    let first: Vec<Due> = take(mine, 2).await;
    let second = take(theirs, 10).await;
    assert_eq!((first.len(), second.len()), (2, 1));
    assert!(!first.contains(&second[0]));
    assert_eq!(take(theirs, 10).await, []);

    // The first one stood still for so long that its lease ended.
    sqlx::query("UPDATE reconcile_schedule SET leased_until = now()")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(take(theirs, 10).await.len(), 3);
    let finish = async |lease, node: NodeId| {
        let mut connection = pool.acquire().await.unwrap();
        let ended = done(same(1));
        let written =
            durability::tables::reconcile::finish(&mut connection, node, lease, &ended, HOUR).await;
        written.unwrap()
    };
    assert!(!finish(mine, first[0].node_id).await);
    assert!(finish(theirs, first[0].node_id).await);
    assert_eq!(
        take(mine, 10).await,
        [],
        "not due before an hour has passed"
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_node_that_was_away_for_weeks_gets_its_deletions(pool: PgPool) {
    let (coordinator, nodes, client, file) = fleet(&pool, 3).await;
    let path = format!("/api/v1/files/{}", file["file_id"].as_str().unwrap());
    let deleted = client.delete(&path).await;
    assert!(deleted.status.is_success());
    coordinator.forget().await;
    let weeks = "UPDATE purges SET created_at = now() - interval '3 weeks', attempts = 1000000";
    sqlx::query(weeks).execute(&pool).await.unwrap();
    // It comes back with its next heartbeat.
    coordinator.app.fleet.remove_peer(&nodes[2].peer_id());
    coordinator.start_workers();
    nodes[2].until(<[BlobId]>::is_empty).await;
    eventually(|| async { (count(&pool, "SELECT count(*) FROM purges").await == 0).then_some(()) })
        .await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn all_that_a_node_holds_can_be_read_in_pages(pool: PgPool) {
    let (coordinator, nodes, ..) = fleet(&pool, 20).await;
    let thrown_away = nodes[0].blobs()[4];
    nodes[0].throw_away(thrown_away);
    nodes[0].on_inventory(OnInventory::TellSlowly(6));
    let network = coordinator.app.fleet.network();
    let peer = nodes[0].peer_id();
    let mut pages = coordinator::durability::inventory::pages(network, peer, proto::BlobRange::ALL);
    let (mut items, mut sizes) = (Vec::new(), Vec::new());
    while let Some(page) = pages.next().await.unwrap() {
        sizes.push(page.len());
        items.extend(page);
    }
    assert_eq!(sizes, [6, 6, 6, 2]);
    let trashed: Vec<_> = items
        .iter()
        .filter(|item| item.trashed)
        .map(|i| i.blob_id)
        .collect();
    assert_eq!(trashed, [thrown_away]);
    let keys = &coordinator.app.keys.ring;
    for item in &items {
        assert_eq!(item.locator, nodes[0].locator_of(item.blob_id));
        assert!(keys.open_locator(&item.locator).is_some());
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_mode_of_an_earlier_purge_stays(pool: PgPool) {
    let node = NodeId::from_uuid(Uuid::from_u128(1));
    let blobs = [BlobId::of(b"a"), BlobId::of(b"b")];
    let mut connection = pool.acquire().await.unwrap();
    blobs::tables::purges::enqueue(&mut connection, &[(node, blobs[0])], Duration::ZERO)
        .await
        .unwrap();
    let left = blobs::tables::purges::not_on_their_way_out(&mut connection, node, &blobs).await;
    assert_eq!(left.unwrap(), [blobs[1]]);
    blobs::tables::purges::throw_away(&mut connection, node, &blobs)
        .await
        .unwrap();
    let mut told = blobs::tables::purges::take_due(&mut connection, node, 10, HOUR)
        .await
        .unwrap();
    told.sort_unstable_by_key(|purge| purge.mode == DeletionMode::Trash);
    let modes: Vec<_> = told
        .iter()
        .map(|purge| (purge.blob_id, purge.mode))
        .collect();
    let expected = [
        (blobs[0], DeletionMode::Purge),
        (blobs[1], DeletionMode::Trash),
    ];
    assert_eq!(modes, expected);
}
