//! Rounds of the audit whose time is the test's own: they pass as fast as they are asked.

use coordinator::proofs::audit;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use kit::Clock;
use proto::NodeId;
use serde_json::Value;
use sqlx::PgPool;

use super::{CHUNK, Client, Coordinator, Node, content};

pub(crate) const ROUND: SignedDuration = SignedDuration::from_hours(4);
pub(crate) const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Does everything that is due at one moment.
pub(crate) async fn audit_at(coordinator: &Coordinator, at: Timestamp) {
    while audit::step(&coordinator.app.proofs, &|| at).await.unwrap() {}
}

/// A fleet that holds a file of `chunks` chunks, the file's owner, and the moment when all is stored and the
/// first round of every node begins.
pub(crate) async fn fleet(
    pool: &PgPool,
    chunks: usize,
    settings: &[&str],
) -> (Coordinator, [Node; 3], Client, Value, Timestamp) {
    let (coordinator, nodes) = Coordinator::with_fleet(pool.clone(), settings).await;
    let (_, client) = coordinator.customer().await;
    let file = client.upload("a", &content(chunks * CHUNK)).await;
    let begin = Clock::system().now();
    // Rounds follow each other from a node's registration on. From one moment on for all, so that a round of
    // the test is exactly one of each node.
    sqlx::query("UPDATE audit_schedule SET window_ends_at = $1, due_at = $1")
        .bind(begin.to_sqlx())
        .execute(pool)
        .await
        .unwrap();
    audit_at(&coordinator, begin).await;
    (coordinator, nodes, client, file, begin)
}

/// Rounds pass, one after another.
pub(crate) async fn rounds(
    coordinator: &Coordinator,
    begin: Timestamp,
    rounds: std::ops::RangeInclusive<i32>,
) {
    for round in rounds {
        audit_at(coordinator, begin + ROUND * round).await;
    }
}

pub(crate) async fn of_node(pool: &PgPool, query: &'static str, node: NodeId) -> i64 {
    let query = sqlx::query_scalar(query).bind(node.as_uuid());
    query.fetch_one(pool).await.unwrap()
}

pub(crate) async fn state(coordinator: &Coordinator, node: NodeId) -> Value {
    let path = format!("/api/v1/nodes/{node}");
    coordinator
        .visitor()
        .get(&path)
        .await
        .expect(StatusCode::OK)
}

/// Kinds of penalties of a node and how often, in alphabetical order.
pub(crate) async fn penalties(pool: &PgPool, node: NodeId) -> Vec<(String, i64)> {
    let query =
        "SELECT kind, count(*) FROM audit_penalties WHERE node_id = $1 GROUP BY kind ORDER BY kind";
    let query = sqlx::query_as(query).bind(node.as_uuid());
    query.fetch_all(pool).await.unwrap()
}

pub(crate) fn kinds(penalties: &[(&str, i64)]) -> Vec<(String, i64)> {
    let owned = penalties.iter().map(|(kind, n)| ((*kind).to_owned(), *n));
    owned.collect()
}

pub(crate) const PASSED: &str =
    "SELECT coalesce(sum(passed), 0)::bigint FROM audit_statements WHERE node_id = $1";
pub(crate) const MISSED: &str =
    "SELECT count(*) FROM audit_penalties WHERE node_id = $1 AND kind = 'missed'";
pub(crate) const DEMOTED: &str =
    "SELECT count(*) FROM replicas WHERE node_id = $1 AND demoted_at IS NOT NULL";
