//! `access_keys` and `access_key_days`. Secrets that are wrapped stand in `wrapped_secrets`, which is of `keys`.

use std::net::IpAddr;
use std::time::Duration;

use credentials::access_key::{AccessKey, AccessKeyId, AllowedAddresses, SecretHash};
use credentials::scope::Scopes;
use credentials::wanted::Wanted;
use jiff_sqlx::ToSqlx;
use proto::MicroCredits;
use sqlx::PgConnection;

use crate::accounts::stored_key::{LastUse, StoredKey};
use crate::database::{corrupt, hash32};
use crate::keys::secrets::WrappedSecret;
use model::ids::UserId;
use model::user::Role;

/// What is written of a new key.
pub struct Row<'a> {
    pub key: &'a AccessKey,
    pub user: UserId,
    pub wanted: &'a Wanted,
    pub salt: Option<[u8; 16]>,
    pub idempotency: Option<[u8; 32]>,
}

struct Found {
    access_key_id: String,
    user_id: uuid::Uuid,
    role: String,
    suspended: Option<String>,
    name: String,
    secret_hash: Vec<u8>,
    scopes: Vec<String>,
    bucket: Option<String>,
    prefix: Option<String>,
    allowed_addresses: Vec<String>,
    bytes_per_day: Option<i64>,
    microcredits_per_day: Option<i64>,
    created_at: jiff_sqlx::Timestamp,
    expires_at: Option<jiff_sqlx::Timestamp>,
    revoked: bool,
    last_used_at: Option<jiff_sqlx::Timestamp>,
    last_used_address: Option<String>,
    salt: Option<Vec<u8>>,
    request_hash: Vec<u8>,
    master_key_id: Option<String>,
    wrapped: Option<Vec<u8>>,
}

impl TryFrom<Found> for StoredKey {
    type Error = sqlx::Error;

    fn try_from(row: Found) -> sqlx::Result<Self> {
        let of_column = |column: &'static str| move |error| corrupt(column, error);
        let id = row.access_key_id.parse();
        let salt = row.salt.map(|salt| {
            let salt: Result<[u8; 16], _> = salt.try_into();
            salt.map_err(|_| corrupt("access_keys.salt", "it does not have 16 bytes"))
        });
        let wrapped = row.master_key_id.zip(row.wrapped);
        Ok(Self {
            id: id.map_err(|error| corrupt("access_keys.access_key_id", error))?,
            user_id: UserId::from_uuid(row.user_id),
            role: Role::from_name(&row.role).ok_or_else(|| corrupt("users.role", &row.role))?,
            suspended: row.suspended,
            name: row.name,
            scopes: Scopes::named(&row.scopes).map_err(of_column("access_keys.scopes"))?,
            bucket: row.bucket,
            prefix: row.prefix,
            allowed: AllowedAddresses::parse(&row.allowed_addresses)
                .map_err(|error| corrupt("access_keys.allowed_addresses", error))?,
            bytes_per_day: row.bytes_per_day.map(i64::unsigned_abs),
            spend_per_day: row.microcredits_per_day.map(MicroCredits::new),
            created_at: row.created_at.to_jiff(),
            expires_at: row.expires_at.map(jiff_sqlx::Timestamp::to_jiff),
            revoked: row.revoked,
            last_use: LastUse::new(row.last_used_at.map(jiff_sqlx::Timestamp::to_jiff)),
            last_used_address: row.last_used_address,
            wrapped: wrapped.map(|(master_key_id, bytes)| WrappedSecret {
                master_key_id,
                bytes,
            }),
            secret_hash: SecretHash::from_bytes(hash32("secret_hash", &row.secret_hash)?),
            salt: salt.transpose()?,
            request_hash: hash32("access_keys.request_hash", &row.request_hash)?,
        })
    }
}

/// The same columns of whichever keys.
macro_rules! select {
    ($which:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Found,
            r#"SELECT access_key_id, user_id, role,
                      CASE WHEN suspended_at IS NOT NULL THEN coalesce(suspended_reason, '') END AS suspended,
                      name, secret_hash, scopes, bucket, prefix, allowed_addresses, bytes_per_day,
                      microcredits_per_day, k.created_at, expires_at,
                      revoked_at IS NOT NULL AS "revoked!", last_used_at, last_used_address,
                      salt, request_hash, master_key_id AS "master_key_id?", wrapped AS "wrapped?"
               FROM access_keys k JOIN users u USING (user_id)
                    LEFT JOIN wrapped_secrets s ON (purpose = 'access key' AND subject = access_key_id) "#
                + $which,
            $($argument),*
        )
    };
}

pub async fn find(
    connection: &mut PgConnection,
    id: AccessKeyId,
) -> sqlx::Result<Option<StoredKey>> {
    let found = select!("WHERE access_key_id = $1", id.as_str());
    let found = found.fetch_optional(connection).await?;
    found.map(TryInto::try_into).transpose()
}

/// The one that this account has made with this Idempotency-Key.
pub async fn by_idempotency(
    connection: &mut PgConnection,
    user: UserId,
    idempotency: &[u8; 32],
) -> sqlx::Result<Option<StoredKey>> {
    let found = select!(
        "WHERE user_id = $1 AND idempotency = $2",
        user.as_uuid(),
        &idempotency[..]
    );
    let found = found.fetch_optional(connection).await?;
    found.map(TryInto::try_into).transpose()
}

/// Those that are not revoked, the newest first.
pub async fn of_user(connection: &mut PgConnection, user: UserId) -> sqlx::Result<Vec<StoredKey>> {
    let found = select!(
        "WHERE user_id = $1 AND revoked_at IS NULL ORDER BY k.created_at DESC, access_key_id",
        user.as_uuid()
    );
    let found = found.fetch_all(connection).await?;
    found.into_iter().map(TryInto::try_into).collect()
}

pub async fn count(connection: &mut PgConnection, user: UserId) -> sqlx::Result<u64> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM access_keys WHERE user_id = $1 AND revoked_at IS NULL"#,
        user.as_uuid()
    )
    .fetch_one(connection)
    .await?;
    Ok(count.unsigned_abs())
}

pub async fn insert(connection: &mut PgConnection, row: &Row<'_>) -> sqlx::Result<()> {
    let Row { key, wanted, .. } = row;
    let secret_hash = key.secret.hash();
    sqlx::query!(
        "INSERT INTO access_keys (access_key_id, user_id, name, secret_hash, scopes, bucket, prefix, expires_at,
                                  allowed_addresses, bytes_per_day, microcredits_per_day, salt, idempotency,
                                  request_hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        key.id.as_str(),
        row.user.as_uuid(),
        wanted.name,
        &secret_hash.as_bytes()[..],
        &wanted.scopes.names(),
        wanted.bucket,
        wanted.prefix,
        wanted.expires_at.map(ToSqlx::to_sqlx) as _,
        &wanted.allowed.texts(),
        wanted.bytes_per_day.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        wanted.spend_per_day.map(MicroCredits::get),
        row.salt.as_ref().map(|salt| &salt[..]),
        row.idempotency.as_ref().map(|hash| &hash[..]),
        &wanted.request_hash[..],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// `false` when this user has no such key, or had one longer ago. One that is revoked already stays as it is.
pub async fn revoke(
    connection: &mut PgConnection,
    user: UserId,
    id: AccessKeyId,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "UPDATE access_keys SET revoked_at = coalesce(revoked_at, now()), salt = NULL
         WHERE access_key_id = $1 AND user_id = $2",
        id.as_str(),
        user.as_uuid(),
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected() == 1)
}

pub async fn note_use(
    connection: &mut PgConnection,
    id: AccessKeyId,
    from: IpAddr,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE access_keys SET last_used_at = now(), last_used_address = $2 WHERE access_key_id = $1",
        id.as_str(),
        from.to_string(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What has become of what was to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used {
    Within,
    TooManyBytes,
    TooMuchSpent,
}

/// Counts for today. Those of one key wait for each other; what goes beyond is for the caller to roll back.
pub async fn charge(
    connection: &mut PgConnection,
    id: AccessKeyId,
    bytes: u64,
    cost: MicroCredits,
) -> sqlx::Result<Used> {
    let used = sqlx::query!(
        r#"WITH used AS (
               INSERT INTO access_key_days AS d (access_key_id, day, bytes, microcredits)
               VALUES ($1, (now() AT TIME ZONE 'UTC')::date, $2, $3)
               ON CONFLICT (access_key_id, day) DO UPDATE
               SET bytes = least(d.bytes + EXCLUDED.bytes, 1::bigint << 61), microcredits = d.microcredits + EXCLUDED.microcredits
               RETURNING access_key_id, bytes, microcredits)
           SELECT coalesce(used.bytes <= bytes_per_day, true) AS "bytes!",
                  coalesce(used.microcredits <= microcredits_per_day, true) AS "credits!"
           FROM used JOIN access_keys USING (access_key_id)"#,
        id.as_str(),
        bytes.min(1 << 61) as i64,
        cost.get(),
    )
    .fetch_one(connection)
    .await?;
    Ok(match (used.bytes, used.credits) {
        (false, _) => Used::TooManyBytes,
        (true, false) => Used::TooMuchSpent,
        (true, true) => Used::Within,
    })
}

/// Of keys that were made longer ago.
pub async fn wipe_salts(
    connection: &mut PgConnection,
    age: Duration,
    limit: i64,
) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "UPDATE access_keys SET salt = NULL WHERE access_key_id IN
             (SELECT access_key_id FROM access_keys
              WHERE salt IS NOT NULL AND created_at < now() - make_interval(secs => $1) LIMIT $2)",
        age.as_secs_f64(),
        limit,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

/// Keys that were revoked longer ago.
pub async fn forget_revoked(
    connection: &mut PgConnection,
    age: Duration,
    limit: i64,
) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM access_keys WHERE access_key_id IN
             (SELECT access_key_id FROM access_keys WHERE revoked_at < now() - make_interval(secs => $1) LIMIT $2)",
        age.as_secs_f64(),
        limit,
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

/// What was used before today.
pub async fn forget_days(connection: &mut PgConnection, limit: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "DELETE FROM access_key_days WHERE (access_key_id, day) IN
             (SELECT access_key_id, day FROM access_key_days
              WHERE day < (now() AT TIME ZONE 'UTC')::date LIMIT $1)",
        limit
    )
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}
