//! `shown_orders`: the orders to delete that nodes showed when they were challenged.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use proto::{DeleteOrder, NodeId, Signature, SignedOrder};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::corrupt;

/// Keeps those of one answer. What is older than the statements that it stood beside goes.
pub async fn insert(
    connection: &mut PgConnection,
    (challenge_id, node): (Uuid, NodeId),
    orders: &[SignedOrder],
    now: Timestamp,
) -> sqlx::Result<()> {
    if orders.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "DELETE FROM shown_orders WHERE at < $1::timestamptz - interval '90 days'",
        now.to_sqlx() as _
    )
    .execute(&mut *connection)
    .await?;
    let statements: Vec<Vec<u8>> = orders.iter().map(|o| o.order.signed_bytes()).collect();
    let signatures: Vec<Vec<u8>> = orders
        .iter()
        .map(|shown| shown.signature.as_bytes().to_vec())
        .collect();
    sqlx::query!(
        "INSERT INTO shown_orders (challenge_id, node_id, at, number, statement, signature)
         SELECT $1::uuid, $2::uuid, $3::timestamptz, ordinality, statement, signature
         FROM unnest($4::bytea[], $5::bytea[]) WITH ORDINALITY AS o (statement, signature, ordinality)",
        challenge_id,
        node.as_uuid(),
        now.to_sqlx() as _,
        &statements,
        &signatures,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Those that were shown in answer to these challenges.
pub async fn of(
    connection: &mut PgConnection,
    challenges: &[Uuid],
) -> sqlx::Result<HashMap<Uuid, Vec<SignedOrder>>> {
    let rows = sqlx::query!(
        "SELECT challenge_id, statement, signature FROM shown_orders
         WHERE challenge_id = ANY($1) ORDER BY challenge_id, number",
        challenges,
    )
    .fetch_all(connection)
    .await?;
    let mut shown: HashMap<Uuid, Vec<SignedOrder>> = HashMap::new();
    for row in rows {
        let order = DeleteOrder::from_signed_bytes(&row.statement);
        let signature = Signature::try_from(&row.signature[..]);
        let signed = SignedOrder {
            order: order.map_err(|error| corrupt("shown_orders.statement", error))?,
            signature: signature.map_err(|error| corrupt("shown_orders.signature", error))?,
        };
        shown.entry(row.challenge_id).or_default().push(signed);
    }
    Ok(shown)
}
