//! `nodes` and `node_tokens`, by whose they are.

use jiff::Timestamp;
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use model::ids::UserId;

/// How many nodes of the account have not left. Those that registered and never came are not counted: they are forgotten
/// by themselves.
pub async fn count_present(connection: &mut PgConnection, operator: UserId) -> sqlx::Result<u64> {
    let nodes = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM nodes
           WHERE operator_id = $1 AND state NOT IN ('drained', 'disqualified') AND last_seen_at IS NOT NULL"#,
        operator.as_uuid()
    )
    .fetch_one(connection)
    .await?;
    Ok(nodes.unsigned_abs())
}

/// Parts an account that is closed from its nodes: they stay in the books as their own operators, without a name and a
/// place, and are paid by their own key. Its tokens for more are gone.
pub async fn part(connection: &mut PgConnection, operator: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH tokens AS (DELETE FROM node_tokens WHERE operator_id = $1)
         UPDATE nodes SET operator_id = NULL, name = 'node of a closed account', region = NULL, last_address = NULL
         WHERE operator_id = $1",
        operator.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A node as its operator may take it with him.
#[derive(Debug, Serialize)]
pub struct OwnNode {
    pub node_id: Uuid,
    pub name: String,
    pub region: Option<String>,
    pub state: String,
    pub last_address: Option<String>,
    pub created_at: Timestamp,
    pub last_seen_at: Option<Timestamp>,
}

pub async fn nodes_of(
    connection: &mut PgConnection,
    operator: UserId,
    after: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<OwnNode>> {
    let rows = sqlx::query!(
        "SELECT node_id, name, region, state, last_address, created_at, last_seen_at FROM nodes
         WHERE operator_id = $1 AND ($2::uuid IS NULL OR node_id > $2) ORDER BY node_id LIMIT $3",
        operator.as_uuid(),
        after,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|row| OwnNode {
        node_id: row.node_id,
        name: row.name,
        region: row.region,
        state: row.state,
        last_address: row.last_address,
        created_at: row.created_at.to_jiff(),
        last_seen_at: row.last_seen_at.map(jiff_sqlx::Timestamp::to_jiff),
    });
    Ok(rows.collect())
}
