//! `bucket_rules`: what owners have set for their buckets.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::types::Json;

use super::buckets;
use model::bucket_rules::{BucketRules, CorsRule, LifecycleRule, RulesChange};
use model::ids::BucketId;
use model::objects::Bucket;

/// Of a bucket of which nothing is set there is no row.
pub async fn of(connection: &mut PgConnection, id: BucketId) -> sqlx::Result<BucketRules> {
    let row = sqlx::query!(
        r#"SELECT cors AS "cors: Json<Vec<CorsRule>>", lifecycle AS "lifecycle: Json<Vec<LifecycleRule>>",
                  public_read, index_document
           FROM bucket_rules WHERE bucket_id = $1"#,
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    let rules = row.map(|row| BucketRules {
        cors: row.cors.0,
        lifecycle: row.lifecycle.0,
        public_read: row.public_read,
        index_document: row.index_document,
    });
    Ok(rules.unwrap_or_default())
}

/// Whether the owner of a bucket is suspended, who serves nobody then.
pub async fn is_suspended(connection: &mut PgConnection, id: BucketId) -> sqlx::Result<bool> {
    let suspended = sqlx::query_scalar!(
        r#"SELECT suspended_at IS NOT NULL AS "suspended!" FROM buckets JOIN users USING (user_id) WHERE bucket_id = $1"#,
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(suspended.unwrap_or(true))
}

pub async fn change(
    connection: &mut PgConnection,
    id: BucketId,
    change: &RulesChange,
) -> sqlx::Result<()> {
    let id = id.as_uuid();
    let query = match change {
        RulesChange::Cors(rules) => sqlx::query!(
            "INSERT INTO bucket_rules (bucket_id, cors) VALUES ($1, $2)
             ON CONFLICT (bucket_id) DO UPDATE SET cors = excluded.cors",
            id,
            Json(rules) as _
        ),
        RulesChange::Lifecycle(rules) => sqlx::query!(
            "INSERT INTO bucket_rules (bucket_id, lifecycle, walk_at)
             VALUES ($1, $2, CASE WHEN $3 THEN now() END)
             ON CONFLICT (bucket_id) DO UPDATE
             SET lifecycle = excluded.lifecycle, walk_at = excluded.walk_at, walked_to = ''",
            id,
            Json(rules) as _,
            !rules.is_empty(),
        ),
        RulesChange::PublicRead(prefixes) => sqlx::query!(
            "INSERT INTO bucket_rules (bucket_id, public_read) VALUES ($1, $2)
             ON CONFLICT (bucket_id) DO UPDATE SET public_read = excluded.public_read",
            id,
            prefixes
        ),
        RulesChange::IndexDocument(name) => sqlx::query!(
            "INSERT INTO bucket_rules (bucket_id, index_document) VALUES ($1, $2)
             ON CONFLICT (bucket_id) DO UPDATE SET index_document = excluded.index_document",
            id,
            name.as_deref()
        ),
    };
    query.execute(connection).await?;
    Ok(())
}

/// A bucket whose keys are to be looked through, and from where on. Nobody else gets it for a while.
pub async fn take_one_to_walk(
    connection: &mut PgConnection,
    lease: Duration,
) -> sqlx::Result<Option<(Bucket, BucketRules, String)>> {
    let taken = sqlx::query!(
        "UPDATE bucket_rules SET walk_at = now() + make_interval(secs => $1)
         WHERE bucket_id = (SELECT bucket_id FROM bucket_rules WHERE walk_at <= now()
                            ORDER BY walk_at LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING bucket_id, walked_to",
        lease.as_secs_f64()
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(taken) = taken else { return Ok(None) };
    let id = BucketId::from_uuid(taken.bucket_id);
    let rules = of(connection, id).await?;
    let bucket = buckets::by_id(connection, id).await?;
    Ok(bucket.map(|bucket| (bucket, rules, taken.walked_to)))
}

/// Where to go on, and when; unless the rules were set anew meanwhile.
pub async fn note_walk(
    connection: &mut PgConnection,
    id: BucketId,
    (from, to): (&str, &str),
    pause: Duration,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE bucket_rules SET walked_to = $3, walk_at = now() + make_interval(secs => $4)
         WHERE bucket_id = $1 AND walked_to = $2 AND walk_at > now()",
        id.as_uuid(),
        from,
        to,
        pause.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
