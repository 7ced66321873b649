//! `buckets` and `resting_bucket_names`.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::database::corrupt;
use model::ids::{BucketId, UserId};
use model::names::BucketName;
use model::objects::{Bucket, Names, Versioning};

struct Row {
    bucket_id: Uuid,
    user_id: Uuid,
    name: String,
    versioning: String,
    names: String,
    created_at: jiff_sqlx::Timestamp,
}

impl TryFrom<Row> for Bucket {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            id: BucketId::from_uuid(row.bucket_id),
            owner: UserId::from_uuid(row.user_id),
            name: row.name,
            versioning: versioning(&row.versioning)?,
            names: names(&row.names)?,
            created_at: row.created_at.to_jiff(),
        })
    }
}

fn versioning(name: &str) -> sqlx::Result<Versioning> {
    let found = Versioning::ALL
        .into_iter()
        .find(|state| state.name() == name);
    found.ok_or_else(|| corrupt("buckets.versioning", name))
}

fn names(name: &str) -> sqlx::Result<Names> {
    let found = Names::ALL.into_iter().find(|names| names.name() == name);
    found.ok_or_else(|| corrupt("buckets.names", name))
}

/// Locks the user's row, so that nobody makes another bucket meanwhile, and counts the user's buckets.
pub async fn lock_owner(connection: &mut PgConnection, user: UserId) -> sqlx::Result<i64> {
    sqlx::query!(
        "SELECT FROM users WHERE user_id = $1 FOR UPDATE",
        user.as_uuid()
    )
    .fetch_optional(&mut *connection)
    .await?;
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM buckets WHERE user_id = $1"#,
        user.as_uuid()
    )
    .fetch_one(connection)
    .await
}

/// `false` when somebody has a bucket of this name.
pub async fn insert(
    connection: &mut PgConnection,
    id: BucketId,
    user: UserId,
    name: &BucketName,
    (versioning, names): (Versioning, Names),
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "INSERT INTO buckets (bucket_id, user_id, name, versioning, names) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (name) DO NOTHING",
        id.as_uuid(),
        user.as_uuid(),
        name.as_str(),
        versioning.name(),
        names.name(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Whether the name waits for somebody else than this user.
pub async fn rests(
    connection: &mut PgConnection,
    name: &BucketName,
    user: UserId,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM resting_bucket_names
                          WHERE name = $1 AND user_id <> $2 AND until > now()) AS "rests!""#,
        name.as_str(),
        user.as_uuid(),
    )
    .fetch_one(connection)
    .await
}

pub async fn by_name(connection: &mut PgConnection, name: &str) -> sqlx::Result<Option<Bucket>> {
    sqlx::query_as!(
        Row,
        "SELECT bucket_id, user_id, name, versioning, names, created_at FROM buckets WHERE name = $1",
        name
    )
    .fetch_optional(connection)
    .await?
    .map(Bucket::try_from)
    .transpose()
}

pub async fn by_id(connection: &mut PgConnection, id: BucketId) -> sqlx::Result<Option<Bucket>> {
    sqlx::query_as!(
        Row,
        "SELECT bucket_id, user_id, name, versioning, names, created_at FROM buckets WHERE bucket_id = $1",
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?
    .map(Bucket::try_from)
    .transpose()
}

/// In order of name.
pub async fn of_user(connection: &mut PgConnection, user: UserId) -> sqlx::Result<Vec<Bucket>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT bucket_id, user_id, name, versioning, names, created_at FROM buckets
         WHERE user_id = $1 ORDER BY name",
        user.as_uuid()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Bucket::try_from).collect()
}

/// Any of a user's.
pub async fn one_of(connection: &mut PgConnection, user: UserId) -> sqlx::Result<Option<BucketId>> {
    let id = sqlx::query_scalar!(
        "SELECT bucket_id FROM buckets WHERE user_id = $1 ORDER BY name LIMIT 1",
        user.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(id.map(BucketId::from_uuid))
}

/// Keeps these from being deleted as long as the transaction lasts; those that are there, and whether they keep versions.
pub async fn share(
    connection: &mut PgConnection,
    ids: &[BucketId],
) -> sqlx::Result<HashMap<BucketId, Versioning>> {
    let ids: Vec<Uuid> = ids.iter().map(BucketId::as_uuid).collect();
    let rows = sqlx::query!(
        "SELECT bucket_id, versioning FROM buckets WHERE bucket_id = ANY($1)
         ORDER BY bucket_id FOR KEY SHARE",
        &ids
    )
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|row| {
        let id = BucketId::from_uuid(row.bucket_id);
        Ok((id, versioning(&row.versioning)?))
    });
    rows.collect()
}

/// Counts changes; the number of the last of them. Locks the bucket's row, after all else.
pub async fn advance(
    connection: &mut PgConnection,
    id: BucketId,
    changes: usize,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "UPDATE buckets SET change_seq = change_seq + $2 WHERE bucket_id = $1 RETURNING change_seq",
        id.as_uuid(),
        changes as i64,
    )
    .fetch_one(connection)
    .await
}

pub async fn set_versioning(
    connection: &mut PgConnection,
    id: BucketId,
    to: Versioning,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE buckets SET versioning = $2 WHERE bucket_id = $1",
        id.as_uuid(),
        to.name()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Waits for whoever writes to it, and keeps others from beginning to. `false` when it is gone.
pub async fn lock_for_deletion(connection: &mut PgConnection, id: BucketId) -> sqlx::Result<bool> {
    let row = sqlx::query!(
        "SELECT FROM buckets WHERE bucket_id = $1 FOR UPDATE",
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// Whether a version, a marker or an unfinished upload is in it.
pub async fn is_empty(connection: &mut PgConnection, id: BucketId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT NOT EXISTS (SELECT FROM objects WHERE bucket_id = $1)
              AND NOT EXISTS (SELECT FROM multipart_uploads
                              WHERE bucket_id = $1 AND completed_as IS NULL) AS "is_empty!""#,
        id.as_uuid()
    )
    .fetch_one(connection)
    .await
}

/// Takes an empty bucket away; its name is its owner's for 30 days more.
pub async fn delete(connection: &mut PgConnection, id: BucketId) -> sqlx::Result<()> {
    sqlx::query!(
        "WITH completed AS (DELETE FROM multipart_uploads WHERE bucket_id = $1),
              gone AS (DELETE FROM buckets WHERE bucket_id = $1 RETURNING name, user_id)
         INSERT INTO resting_bucket_names (name, user_id, until)
         SELECT name, user_id, now() + interval '30 days' FROM gone
         ON CONFLICT (name) DO UPDATE SET user_id = excluded.user_id, until = excluded.until",
        id.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Names that anybody may take by now.
pub async fn delete_rested(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM resting_bucket_names WHERE name IN
             (SELECT name FROM resting_bucket_names WHERE until <= now() LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}
