//! Files, nodes and time as settlement meets them: through the real use-cases, with a clock that the
//! test sets and chunks that no node ever saw.

use coordinator::billing::{ledger_verify, settlement};
use coordinator::bookkeeping::tables::days;
use coordinator::compose::Coordinator as App;
use coordinator::files;
use coordinator::files::renewal;
use coordinator::files::upload::complete;
use kit::{Clock, Entropy};
use model::scheme::Scheme;
use model::terms::Terms;
use rules::file_meter::Priced;

use coordinator::bookkeeping::chart;
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use model::day::{DAY, Day};
use model::ids::{FileId, UploadId, UserId, uuid_v7};
use proto::{MicroCredits, NodeId, VerifyingKey};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::{Coordinator, balance, post, seal};

fn fresh() -> Uuid {
    uuid_v7(Clock::system().now(), &mut Entropy::system().rng())
}

/// From now on it is `at`, for all that concerns money.
pub(crate) async fn set_clock(pool: &PgPool, at: Timestamp) {
    let function = format!(
        "CREATE OR REPLACE FUNCTION database_clock() RETURNS timestamptz LANGUAGE sql VOLATILE
         AS $$SELECT '{at}'::timestamptz$$"
    );
    sqlx::query(AssertSqlSafe(function))
        .execute(pool)
        .await
        .unwrap();
}

/// The end of the day in which the database was made. The clock stands there from then on.
pub(crate) async fn first_midnight(pool: &PgPool) -> Timestamp {
    let mut connection = pool.acquire().await.unwrap();
    let (_, made) = days::last_day(&mut connection).await.unwrap();
    let midnight = Day::after(made, DAY).ends_at;
    set_clock(pool, midnight).await;
    midnight
}

/// A node that is registered and does nothing else.
pub(crate) async fn idle_node(pool: &PgPool) -> NodeId {
    let node = NodeId::from_uuid(fresh());
    sqlx::query(
        "INSERT INTO nodes (node_id, peer_id, name, capacity_bytes, api_key_hash, created_at)
         VALUES ($1, $2, 'a node', 1000000000000, sha256($3), 'epoch')",
    )
    .bind(node.as_uuid())
    .bind(model::ids::PeerId::random().to_string())
    .bind(node.as_bytes().to_vec())
    .execute(pool)
    .await
    .unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let opened = ledger::open_accounts(&mut connection, node.as_uuid(), &chart::OF_NODES).await;
    opened.unwrap();
    node
}

/// A user who has bought `credits` micro-credits.
pub(crate) async fn rich_user(pool: &PgPool, credits: i64) -> UserId {
    let user = super::user(pool).await;
    let entries = [
        (chart::OUTSIDE, -credits),
        (chart::available(user), credits),
    ];
    post(pool, &format!("fund {user}"), &entries).await.unwrap();
    user
}

/// An upload of one chunk with a replica on each of these nodes; its price is held. The node may be
/// named more than once.
pub(crate) async fn begin(app: &App, user: UserId, nodes: &[NodeId], size: u32) -> UploadId {
    let offer = Offer {
        size,
        terms: Terms::Content,
        trial_ppm: 0,
    };
    begin_offered(app, user, nodes, offer).await
}

/// What a file is sold for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    pub size: u32,
    pub terms: Terms,
    /// Millionths of the price that the trial pays.
    pub trial_ppm: u32,
}

/// The same under any terms, paid from the trial in part.
pub(crate) async fn begin_offered(
    app: &App,
    user: UserId,
    nodes: &[NodeId],
    Offer {
        size,
        terms,
        trial_ppm,
    }: Offer,
) -> UploadId {
    let (pool, replication) = (app.db.connections(), app.config.placement.replicas);
    let priced = Priced {
        size_bytes: u64::from(size),
        terms,
        scheme: Scheme::copies(replication),
        price: app.config.money.price_per_gb_month,
    };
    let hold = priced.month().unwrap();
    let trial = MicroCredits::new(hold.get() * i64::from(trial_ppm) / 1_000_000);
    let (file, upload) = (FileId::from_uuid(fresh()), UploadId::from_uuid(fresh()));
    let entries = [
        (chart::available(user), trial.get() - hold.get()),
        (chart::INCOME, -trial.get()),
        (chart::upload_hold(user), hold.get()),
    ];
    post(pool, &format!("hold {upload}"), &entries)
        .await
        .unwrap();
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO files (file_id, user_id, filename, content_type, size_bytes, chunk_count,
                            chunk_size_bytes, replication, billed_name_bytes)
         VALUES ($1, $2, 'a', 'text/plain', $3, 1, $4, $5, $6)",
    )
    .bind(file.as_uuid())
    .bind(user.as_uuid())
    .bind(i64::from(size))
    .bind(size as i32)
    .bind(replication as i32)
    .bind(terms.name_bytes().map(u32::cast_signed))
    .execute(&mut *transaction)
    .await
    .unwrap();
    let new = files::tables::uploads::NewUpload {
        id: upload,
        file_id: file,
        user_id: user,
        hold,
        trial,
        idempotency_key: None,
        request_digest: &[0; 32],
        ttl: DAY,
    };
    files::tables::uploads::insert(&mut transaction, &new)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO chunks (file_id, chunk_index, version, size_bytes) VALUES ($1, 0, 1, $2)",
    )
    .bind(file.as_uuid())
    .bind(size as i32)
    .execute(&mut *transaction)
    .await
    .unwrap();
    for (n, node) in nodes.iter().enumerate() {
        sqlx::query(
            "INSERT INTO replicas (node_id, blob_id, file_id, chunk_index, stored_at_ms, signature)
             VALUES ($1, sha256($2), $3, 0, $4, $5)",
        )
        .bind(node.as_uuid())
        .bind(format!("{file} {n}").into_bytes())
        .bind(file.as_uuid())
        .bind(n as i64)
        .bind(vec![0u8; 64])
        .execute(&mut *transaction)
        .await
        .unwrap();
    }
    let (users, trials) = ([user].into_iter(), [(user, trial)]);
    let counted = files::tables::allowances::count_files(&mut transaction, users, &trials);
    counted.await.unwrap();
    transaction.commit().await.unwrap();
    upload
}

/// A stored file.
pub(crate) async fn store(app: &App, user: UserId, nodes: &[NodeId], size: u32) -> FileId {
    let upload = begin(app, user, nodes, size).await;
    complete::complete(&app.files, user, upload, None, None)
        .await
        .unwrap()
        .id
}

/// Everything that is due at the time that it is.
pub(crate) async fn settle_all(app: &App) {
    while renewal::renew_one(&app.files).await.unwrap()
        || renewal::expire_one(&app.files).await.unwrap()
        || settlement::settle_one_node(&app.billing).await.unwrap()
        || settlement::charge_one_user(&app.billing).await.unwrap()
        || settlement::count_day(&app.billing).await.unwrap()
        || settlement::cut_day(&app.billing).await.unwrap()
    {}
}

/// Sets the clock to half a minute after `at`, and does what is due.
pub(crate) async fn settle_at(app: &App, at: Timestamp) {
    let margin = SignedDuration::from_secs(30);
    set_clock(app.db.connections(), at.saturating_add(margin).unwrap()).await;
    settle_all(app).await;
}

/// What the audit charges a node with.
pub(crate) async fn penalise(
    pool: &PgPool,
    node: NodeId,
    at: Timestamp,
    kind: &str,
    length: i64,
) -> Uuid {
    let id = fresh();
    sqlx::query(
        "INSERT INTO audit_penalties (penalty_id, node_id, at, kind, blob_id, length_bytes, interval_s,
                                      weight_ppm, reason)
         VALUES ($1, $2, $3, $4, sha256('blob'), $5, 14400, 1000000, 'a test')",
    )
    .bind(id)
    .bind(node.as_uuid())
    .bind(at.to_sqlx())
    .bind(kind)
    .bind(length)
    .execute(pool)
    .await
    .unwrap();
    id
}

/// The audit takes a miss back.
pub(crate) async fn forgive(pool: &PgPool, miss: Uuid, at: Timestamp) {
    sqlx::query(
        "INSERT INTO audit_penalties (penalty_id, node_id, at, kind, blob_id, length_bytes, interval_s,
                                      weight_ppm, gives_back)
         SELECT $1, node_id, $2, 'given_back', blob_id, length_bytes, interval_s, weight_ppm, penalty_id
         FROM audit_penalties WHERE penalty_id = $3",
    )
    .bind(fresh())
    .bind(at.to_sqlx())
    .bind(miss)
    .execute(pool)
    .await
    .unwrap();
}

/// Bytes; a node is paid a credit for it a month.
pub(crate) const GB: u32 = 1_000_000_000;
/// Micro-credits, enough for anything here.
pub(crate) const RICH: i64 = 1_000_000_000;

pub(crate) fn hours(at: Timestamp, hours: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_hours(hours))
        .unwrap()
}

pub(crate) fn days(at: Timestamp, days: i64) -> Timestamp {
    hours(at, days * 24)
}

pub(crate) async fn three_nodes(pool: &PgPool) -> [NodeId; 3] {
    [
        idle_node(pool).await,
        idle_node(pool).await,
        idle_node(pool).await,
    ]
}

pub(crate) async fn of_node(pool: &PgPool, node: NodeId) -> (i64, i64) {
    (
        balance(pool, chart::node_held(node)).await,
        balance(pool, chart::node_available(node)).await,
    )
}

pub(crate) async fn of_user(pool: &PgPool, user: UserId) -> (i64, i64) {
    (
        balance(pool, chart::available(user)).await,
        balance(pool, chart::escrow(user)).await,
    )
}

pub(crate) async fn verified(coordinator: &Coordinator) {
    while seal(coordinator.app.db.connections(), 50).await.is_some() {}
    let keys = &coordinator.app.keys.ring;
    let key = VerifyingKey::of_keypair(&keys.network).unwrap();
    let network = Some((keys.network_id, key));
    let report = ledger_verify::verify(&coordinator.app.db, network, &[]).await;
    let report = report.unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
}
