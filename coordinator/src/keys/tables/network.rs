//! `coordinators`, `former_coordinators` and `network_document`.

use proto::{CoordinatorEntry, NetworkDocument};
use sqlx::PgConnection;

use crate::database::corrupt;

/// The newest document as JSON text, as it is served.
pub async fn document(connection: &mut PgConnection) -> sqlx::Result<Option<NetworkDocument>> {
    let text = sqlx::query_scalar!(r#"SELECT document::text AS "document!" FROM network_document"#)
        .fetch_optional(connection)
        .await?;
    text.map(|text| serde_json::from_str(&text).map_err(|error| corrupt("document", error)))
        .transpose()
}

/// Serialises the coordinators that change the document.
pub async fn lock(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("LOCK TABLE network_document IN EXCLUSIVE MODE")
        .execute(connection)
        .await?;
    Ok(())
}

pub async fn upsert_coordinator(
    connection: &mut PgConnection,
    entry: &CoordinatorEntry,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO coordinators (peer_id, addrs) VALUES ($1, $2)
         ON CONFLICT (peer_id) DO UPDATE SET addrs = EXCLUDED.addrs, updated_at = now()",
        entry.peer_id,
        &entry.addrs,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// `false` when there is no such coordinator.
pub async fn remove_coordinator(
    connection: &mut PgConnection,
    peer_id: &str,
) -> sqlx::Result<bool> {
    let result = sqlx::query!("DELETE FROM coordinators WHERE peer_id = $1", peer_id)
        .execute(connection)
        .await?;
    Ok(result.rows_affected() == 1)
}

/// Which of these are coordinators of this network, or were before they were taken out of the document.
pub async fn present_or_former(
    connection: &mut PgConnection,
    peer_ids: &[String],
) -> sqlx::Result<Vec<String>> {
    let peer_ids = sqlx::query_scalar!(
        r#"SELECT peer_id AS "peer_id!" FROM coordinators WHERE peer_id = ANY($1)
           UNION SELECT peer_id FROM former_coordinators WHERE peer_id = ANY($1)"#,
        peer_ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(peer_ids)
}

pub async fn coordinators(connection: &mut PgConnection) -> sqlx::Result<Vec<CoordinatorEntry>> {
    sqlx::query_as!(
        CoordinatorEntry,
        "SELECT peer_id, addrs FROM coordinators ORDER BY peer_id"
    )
    .fetch_all(connection)
    .await
}

pub async fn store_document(
    connection: &mut PgConnection,
    document: &NetworkDocument,
) -> sqlx::Result<()> {
    let text = serde_json::to_string(document).map_err(|error| corrupt("document", error))?;
    let serial = i64::try_from(document.serial).map_err(|error| corrupt("serial", error))?;
    sqlx::query!(
        "INSERT INTO network_document (serial, document) VALUES ($1, $2::text::json)
         ON CONFLICT (only_row) DO UPDATE SET serial = EXCLUDED.serial, document = EXCLUDED.document",
        serial,
        text,
    )
    .execute(connection)
    .await?;
    Ok(())
}
