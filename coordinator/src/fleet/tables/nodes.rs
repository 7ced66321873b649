//! `nodes`, `node_tokens`, `registration_nonces`.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{InstanceId, NodeId, PeerId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::corrupt;
use crate::fleet::tables::node_status::holds;
use model::ids::UserId;
use model::names::{NodeName, Region};
use model::node::Node;
use model::node_state::{Holds, NodeState, score_ppm};

struct Row {
    node_id: Uuid,
    peer_id: String,
    name: String,
    operator_id: Option<Uuid>,
    region: Option<String>,
    capacity_bytes: i64,
    used_bytes: i64,
    free_bytes: i64,
    blob_count: i64,
    software: String,
    state: String,
    state_reason: String,
    score_alpha: i64,
    score_beta: i64,
    created_at: jiff_sqlx::Timestamp,
    last_seen_at: Option<jiff_sqlx::Timestamp>,
    state_since: jiff_sqlx::Timestamp,
    mass_failure_at: Option<jiff_sqlx::Timestamp>,
    hold_until: Option<jiff_sqlx::Timestamp>,
    hold_cause: Option<String>,
    offline_since: Option<jiff_sqlx::Timestamp>,
    away_since: Option<jiff_sqlx::Timestamp>,
    awaits_adoption_since: Option<jiff_sqlx::Timestamp>,
}

impl TryFrom<Row> for Node {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let unsigned = |value: i64| u64::try_from(value).unwrap_or(0); // CHECK keeps it ≥ 0
        Ok(Self {
            id: NodeId::from_uuid(row.node_id),
            peer_id: row
                .peer_id
                .parse()
                .map_err(|error| corrupt("nodes.peer_id", error))?,
            name: row.name,
            operator: row.operator_id.map(UserId::from_uuid),
            region: row.region,
            capacity_bytes: unsigned(row.capacity_bytes),
            used_bytes: unsigned(row.used_bytes),
            free_bytes: unsigned(row.free_bytes),
            blob_count: unsigned(row.blob_count),
            software: row.software,
            state: row
                .state
                .parse()
                .map_err(|error| corrupt("nodes.state", error))?,
            state_reason: row.state_reason,
            score_ppm: score_ppm(unsigned(row.score_alpha), unsigned(row.score_beta)),
            created_at: row.created_at.to_jiff(),
            last_seen_at: row.last_seen_at.map(jiff_sqlx::Timestamp::to_jiff),
            state_since: row.state_since.to_jiff(),
            holds: holds(row.mass_failure_at, row.hold_until, row.hold_cause)?,
            offline_since: row.offline_since.map(jiff_sqlx::Timestamp::to_jiff),
            away_since: row.away_since.map(jiff_sqlx::Timestamp::to_jiff),
            awaits_adoption_since: row.awaits_adoption_since.map(jiff_sqlx::Timestamp::to_jiff),
        })
    }
}

pub async fn by_id(connection: &mut PgConnection, id: NodeId) -> sqlx::Result<Option<Node>> {
    sqlx::query_as!(
        Row,
        "SELECT node_id, peer_id, name, operator_id, region, capacity_bytes, used_bytes, free_bytes,
                blob_count, software, state, state_reason, score_alpha, score_beta, created_at, last_seen_at,
                state_since, mass_failure_at, hold_until, hold_cause, offline_since, away_since,
                awaits_adoption_since
         FROM nodes WHERE node_id = $1",
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?
    .map(Node::try_from)
    .transpose()
}

pub async fn by_api_key(
    connection: &mut PgConnection,
    hash: &[u8; 32],
) -> sqlx::Result<Option<Node>> {
    sqlx::query_as!(
        Row,
        "SELECT node_id, peer_id, name, operator_id, region, capacity_bytes, used_bytes, free_bytes,
                blob_count, software, state, state_reason, score_alpha, score_beta, created_at, last_seen_at,
                state_since, mass_failure_at, hold_until, hold_cause, offline_since, away_since,
                awaits_adoption_since
         FROM nodes WHERE api_key_hash = $1",
        &hash[..]
    )
    .fetch_optional(connection)
    .await?
    .map(Node::try_from)
    .transpose()
}

/// In order of id, which is the order of registration.
pub async fn list(
    connection: &mut PgConnection,
    after: Option<NodeId>,
    limit: i64,
) -> sqlx::Result<Vec<Node>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT node_id, peer_id, name, operator_id, region, capacity_bytes, used_bytes, free_bytes,
                blob_count, software, state, state_reason, score_alpha, score_beta, created_at, last_seen_at,
                state_since, mass_failure_at, hold_until, hold_cause, offline_since, away_since,
                awaits_adoption_since
         FROM nodes WHERE $1::uuid IS NULL OR node_id > $1 ORDER BY node_id LIMIT $2",
        after.map(|id| id.as_uuid()),
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Node::try_from).collect()
}

/// What a node says of itself when it registers.
#[derive(Debug)]
pub struct NewNode<'a> {
    pub id: NodeId,
    pub peer_id: PeerId,
    pub name: &'a NodeName,
    pub region: Option<&'a Region>,
    pub capacity_bytes: i64,
    pub operator: Option<UserId>,
    pub api_key_hash: &'a [u8; 32],
}

/// Adds a node, or gives a known peer its new key. The old key is void from then on; an operator
/// once set stays. Whichever copy of its data directory comes next is the one that counts.
pub async fn upsert(
    connection: &mut PgConnection,
    node: &NewNode<'_>,
) -> sqlx::Result<(NodeId, NodeState)> {
    let row = sqlx::query!(
        "INSERT INTO nodes (node_id, peer_id, name, region, capacity_bytes, operator_id, api_key_hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (peer_id) DO UPDATE SET
             name = EXCLUDED.name, region = EXCLUDED.region, capacity_bytes = EXCLUDED.capacity_bytes,
             operator_id = coalesce(nodes.operator_id, EXCLUDED.operator_id),
             api_key_hash = EXCLUDED.api_key_hash, instance = NULL
         RETURNING node_id, state",
        node.id.as_uuid(),
        node.peer_id.to_string(),
        node.name.as_str(),
        node.region.map(Region::as_str),
        node.capacity_bytes,
        node.operator.map(|id| id.as_uuid()),
        &node.api_key_hash[..],
    )
    .fetch_one(connection)
    .await?;
    let state = row
        .state
        .parse()
        .map_err(|error| corrupt("nodes.state", error))?;
    Ok((NodeId::from_uuid(row.node_id), state))
}

pub async fn by_peer_id(
    connection: &mut PgConnection,
    peer_id: &PeerId,
) -> sqlx::Result<Option<Node>> {
    sqlx::query_as!(
        Row,
        "SELECT node_id, peer_id, name, operator_id, region, capacity_bytes, used_bytes, free_bytes,
                blob_count, software, state, state_reason, score_alpha, score_beta, created_at, last_seen_at,
                state_since, mass_failure_at, hold_until, hold_cause, offline_since, away_since,
                awaits_adoption_since
         FROM nodes WHERE peer_id = $1",
        peer_id.to_string()
    )
    .fetch_optional(connection)
    .await?
    .map(Node::try_from)
    .transpose()
}

/// What a node last reported.
#[derive(Debug, Clone, Copy)]
pub struct NodeReport {
    pub id: NodeId,
    pub capacity_bytes: u64,
    pub used_bytes: u64,
    pub free_bytes: u64,
    pub blob_count: u64,
    /// How long ago.
    pub heard_ago: Duration,
}

/// How the network sees a node.
#[derive(Debug, Clone)]
pub struct NodeStanding {
    pub id: NodeId,
    pub state: NodeState,
    pub state_reason: String,
    pub holds: Holds,
    pub instance: Option<InstanceId>,
}

/// Writes what nodes have reported, many at once, and when; returns how they stand. Rows are locked in
/// order: each coordinator writes the same ones every few seconds.
pub async fn record_reports(
    connection: &mut PgConnection,
    reports: &[NodeReport],
) -> sqlx::Result<Vec<NodeStanding>> {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let column = |field: fn(&NodeReport) -> u64| -> Vec<i64> {
        reports.iter().map(|report| signed(field(report))).collect()
    };
    let ids: Vec<Uuid> = reports.iter().map(|report| report.id.as_uuid()).collect();
    let heard_ago: Vec<f64> = reports
        .iter()
        .map(|report| report.heard_ago.as_secs_f64())
        .collect();
    let rows = sqlx::query!(
        r#"WITH locked AS MATERIALIZED (
             SELECT node_id FROM nodes WHERE node_id = ANY($1) ORDER BY node_id FOR NO KEY UPDATE)
         UPDATE nodes SET capacity_bytes = r.capacity, used_bytes = r.used, free_bytes = r.free,
                blob_count = r.blobs,
                last_seen_at = greatest(last_seen_at, now() - make_interval(secs => r.heard_ago)),
                lost_at = CASE WHEN lost_at > now() - make_interval(secs => r.heard_ago) THEN lost_at END
         FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::float8[])
              AS r (node_id, capacity, used, free, blobs, heard_ago)
         JOIN locked USING (node_id)
         WHERE nodes.node_id = r.node_id
         RETURNING nodes.node_id, state, state_reason, instance,
                   mass_failure_at AS "mass_failure_at: jiff_sqlx::Timestamp",
                   hold_until AS "hold_until: jiff_sqlx::Timestamp", hold_cause"#,
        &ids,
        &column(|report| report.capacity_bytes),
        &column(|report| report.used_bytes),
        &column(|report| report.free_bytes),
        &column(|report| report.blob_count),
        &heard_ago,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let state = row
                .state
                .parse()
                .map_err(|error| corrupt("nodes.state", error))?;
            Ok(NodeStanding {
                id: NodeId::from_uuid(row.node_id),
                state,
                state_reason: row.state_reason,
                holds: holds(row.mass_failure_at, row.hold_until, row.hold_cause)?,
                instance: row.instance.map(InstanceId::from_uuid),
            })
        })
        .collect()
}

/// The node is here for the first time, with another software than the last, or from another address.
pub async fn record_hello(
    connection: &mut PgConnection,
    id: NodeId,
    software: &str,
    from: Option<IpAddr>,
) -> sqlx::Result<()> {
    // Whoever may get a blob has been seen, or his absence would be noticed by nobody.
    sqlx::query!(
        "UPDATE nodes SET software = $2, last_seen_at = coalesce(last_seen_at, now()),
                last_address = coalesce($3, last_address)
         WHERE node_id = $1
           AND (software <> $2 OR last_seen_at IS NULL OR last_address IS DISTINCT FROM coalesce($3, last_address))",
        id.as_uuid(),
        software,
        from.map(|ip| ip.to_string()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Where nodes were connected from last, those that were seen last before the others.
pub async fn last_addresses(
    connection: &mut PgConnection,
    limit: i64,
) -> sqlx::Result<Vec<IpAddr>> {
    let rows = sqlx::query_scalar!(
        r#"SELECT last_address AS "last_address!" FROM nodes
           WHERE last_address IS NOT NULL AND state <> 'disqualified'
           ORDER BY last_seen_at DESC NULLS LAST LIMIT $1"#,
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|text| {
            let ip = text.parse::<IpAddr>();
            ip.map_err(|error| corrupt("nodes.last_address", error))
        })
        .collect()
}

/// Which copy of the node's data directory was taken last, locked until the transaction ends.
pub async fn lock_instance(
    connection: &mut PgConnection,
    id: NodeId,
) -> sqlx::Result<Option<InstanceId>> {
    let instance = sqlx::query_scalar!(
        "SELECT instance FROM nodes WHERE node_id = $1 FOR NO KEY UPDATE",
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(instance.flatten().map(InstanceId::from_uuid))
}

pub async fn instance(
    connection: &mut PgConnection,
    id: NodeId,
) -> sqlx::Result<Option<InstanceId>> {
    let instance = sqlx::query_scalar!(
        "SELECT instance FROM nodes WHERE node_id = $1",
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(instance.flatten().map(InstanceId::from_uuid))
}

pub async fn set_instance(
    connection: &mut PgConnection,
    id: NodeId,
    instance: InstanceId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE nodes SET instance = $2 WHERE node_id = $1",
        id.as_uuid(),
        instance.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What the database says of them is from a backup: whichever comes next is the one that counts.
pub async fn forget_instances(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("UPDATE nodes SET instance = NULL WHERE instance IS NOT NULL")
        .execute(connection)
        .await?;
    Ok(())
}

/// Removes nodes that registered and never came, all that is noted of them with them: those that registered `before` that
/// long ago, or this one. None while the database may have forgotten that it was here.
pub async fn remove_never_seen(
    connection: &mut PgConnection,
    before: Duration,
    only: Option<NodeId>,
    limit: i64,
) -> sqlx::Result<Vec<(NodeId, PeerId)>> {
    let rows = sqlx::query!(
        "DELETE FROM nodes WHERE node_id IN (
             SELECT node_id FROM nodes n
             WHERE last_seen_at IS NULL AND awaits_adoption_since IS NULL
               AND created_at <= now() - make_interval(secs => $1)
               AND ($2::uuid IS NULL OR node_id = $2)
               AND NOT EXISTS (SELECT FROM replicas r WHERE r.node_id = n.node_id)
               AND NOT EXISTS (SELECT FROM payouts p WHERE p.node_id = n.node_id)
               AND NOT EXISTS (SELECT FROM adoptions WHERE ended_at IS NULL)
             ORDER BY created_at LIMIT $3 FOR UPDATE SKIP LOCKED)
         RETURNING node_id, peer_id",
        before.as_secs_f64(),
        only.map(|id| id.as_uuid()),
        limit,
    )
    .fetch_all(&mut *connection)
    .await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.node_id).collect();
    sqlx::query!(
        "DELETE FROM node_state_changes WHERE node_id = ANY($1)",
        &ids
    )
    .execute(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let peer = row.peer_id.parse();
            let peer = peer.map_err(|error| corrupt("nodes.peer_id", error))?;
            Ok((NodeId::from_uuid(row.node_id), peer))
        })
        .collect()
}

/// How many copies this node holds that count.
pub async fn count_replicas(connection: &mut PgConnection, id: NodeId) -> sqlx::Result<u64> {
    let copies = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM replicas WHERE node_id = $1 AND demoted_at IS NULL"#,
        id.as_uuid()
    )
    .fetch_one(connection)
    .await?;
    Ok(copies.unsigned_abs())
}

/// How many nodes the account has or may yet have: those that have not left, and tokens that wait for theirs.
pub async fn count_of_operator(
    connection: &mut PgConnection,
    operator: UserId,
) -> sqlx::Result<u64> {
    let nodes = sqlx::query_scalar!(
        r#"SELECT (SELECT count(*) FROM nodes
                   WHERE operator_id = $1 AND state NOT IN ('drained', 'disqualified'))
                + (SELECT count(*) FROM node_tokens
                   WHERE operator_id = $1 AND used_by IS NULL AND expires_at > now()) AS "count!""#,
        operator.as_uuid()
    )
    .fetch_one(connection)
    .await?;
    Ok(nodes.unsigned_abs())
}

pub async fn insert_nonce(
    connection: &mut PgConnection,
    nonce: &[u8; 32],
    expires_at: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO registration_nonces (nonce, expires_at) VALUES ($1, $2)",
        &nonce[..],
        expires_at.to_sqlx()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// `true` once for each nonce that was handed out and has not expired.
pub async fn use_nonce(connection: &mut PgConnection, nonce: &[u8; 32]) -> sqlx::Result<bool> {
    let fresh = sqlx::query_scalar!(
        r#"DELETE FROM registration_nonces WHERE nonce = $1 RETURNING expires_at > now() AS "fresh!""#,
        &nonce[..]
    )
    .fetch_optional(connection)
    .await?;
    Ok(fresh == Some(true))
}

pub async fn delete_expired_nonces(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM registration_nonces WHERE nonce IN
             (SELECT nonce FROM registration_nonces WHERE expires_at < now() LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

pub async fn insert_token(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    operator: Option<UserId>,
    expires_at: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO node_tokens (token_hash, operator_id, expires_at) VALUES ($1, $2, $3)",
        &hash[..],
        operator.map(|id| id.as_uuid()),
        expires_at.to_sqlx(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many tokens of a user wait for their node; looks no further than `limit`. Those who make some for one user wait
/// for each other from here on.
pub async fn count_unused_tokens(
    connection: &mut PgConnection,
    operator: UserId,
    limit: i64,
) -> sqlx::Result<i64> {
    sqlx::query!(
        r#"SELECT 1 AS "locked!" FROM pg_advisory_xact_lock(hashtextextended('node_tokens:' || $1::text, 0))"#,
        operator.to_string()
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "unused!" FROM
             (SELECT 1 FROM node_tokens
              WHERE operator_id = $1 AND used_by IS NULL AND expires_at > now() LIMIT $2) AS unused"#,
        operator.as_uuid(),
        limit,
    )
    .fetch_one(connection)
    .await
}

/// Forgets tokens that no node came with in time.
pub async fn delete_expired_tokens(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM node_tokens WHERE token_hash IN
             (SELECT token_hash FROM node_tokens
              WHERE used_by IS NULL AND expires_at < now() LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

/// The operator behind a token that is good for this peer: unused, or used by the same peer before.
/// The outer `None` means that it is not good.
pub async fn lock_token(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    peer_id: &PeerId,
) -> sqlx::Result<Option<Option<UserId>>> {
    let row = sqlx::query!(
        "SELECT t.operator_id FROM node_tokens t
         LEFT JOIN nodes n ON n.node_id = t.used_by
         WHERE t.token_hash = $1
           AND (n.peer_id = $2 OR (t.used_by IS NULL AND t.expires_at > now()))
         FOR UPDATE OF t",
        &hash[..],
        peer_id.to_string(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.operator_id.map(UserId::from_uuid)))
}

/// The token is this node's from now on, and its only one: each registration with another would leave a row behind.
pub async fn mark_token_used(
    connection: &mut PgConnection,
    hash: &[u8; 32],
    by: NodeId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM node_tokens WHERE used_by = $2 AND token_hash <> $1",
        &hash[..],
        by.as_uuid()
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE node_tokens SET used_by = $2 WHERE token_hash = $1",
        &hash[..],
        by.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}
