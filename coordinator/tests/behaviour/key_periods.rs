//! Keys by period: what was deleted is gone from older backups, and what is there goes on being read.

use std::time::Duration;

use coordinator::database::Pool;
use coordinator::keys::periods::turn;
use coordinator::keys::rotation::rewrap_some;
use coordinator::keys::tables::keys::{RunningCoordinator, note_running};
use coordinator::keys::{self, KeyRing};
use kit::Entropy;
use sqlx::PgPool;

use crate::support::{CHUNK, Coordinator, content, count};

const PERIOD: Duration = Duration::from_secs(24 * 3600);

/// Everything that names or wraps keys, as a dump has it.
async fn back_up(pool: &PgPool, name: &str) {
    for table in ["keys", "data_keys", "wrapped_secrets"] {
        let copy = format!("CREATE TABLE {name}_{table} AS TABLE {table}");
        sqlx::query(sqlx::AssertSqlSafe(copy))
            .execute(pool)
            .await
            .unwrap();
    }
}

async fn restore(pool: &PgPool, name: &str) {
    let tables = ["data_keys", "wrapped_secrets", "keys"];
    let gone = tables.map(|table| format!("DELETE FROM {table}"));
    let back = tables.map(|table| format!("INSERT INTO {table} SELECT * FROM {name}_{table}"));
    for step in gone.into_iter().chain(back.into_iter().rev()) {
        sqlx::query(sqlx::AssertSqlSafe(step))
            .execute(pool)
            .await
            .unwrap();
    }
}

async fn time_passes(pool: &PgPool) {
    let older = "UPDATE keys SET created_at = created_at - interval '2 days', retired_at = retired_at - interval '2 days'";
    sqlx::query(older).execute(pool).await.unwrap();
}

/// What the job of a coordinator with this ring does until nothing is left to be done.
async fn go_through(pool: &PgPool, ring: &KeyRing) {
    let db = Pool::new(pool.clone());
    for _ in 0..4 {
        turn(&db, ring, PERIOD).await.unwrap();
        ring.refresh(&db).await.unwrap();
        while rewrap_some(&db, ring, &mut Entropy::system().rng())
            .await
            .unwrap()
            > 0
        {}
    }
    // A minute after it was retired.
    let later = "UPDATE keys SET retired_at = retired_at - interval '2 minutes'";
    sqlx::query(later).execute(pool).await.unwrap();
    turn(&db, ring, PERIOD).await.unwrap();
    turn(&db, ring, PERIOD).await.unwrap();
}

fn masters(dir: &std::path::Path) -> Vec<String> {
    let files = std::fs::read_dir(dir).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("master-")).collect();
    names.sort();
    names
}

async fn open(pool: &PgPool, dir: &std::path::Path) -> anyhow::Result<KeyRing> {
    let db = Pool::new(pool.clone());
    keys::open(dir, &db, &mut Entropy::system().rng()).await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_backup_from_one_or_two_periods_back_opens_nothing_and_files_go_on_being_read(
    pool: PgPool,
) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let bytes = content(2 * CHUNK + 5);
    let kept = client.upload("kept", &bytes).await;
    client.upload("deleted later", &bytes).await;
    let (dir, ring) = (coordinator.keys_dir.path(), &coordinator.app.keys.ring);

    // Before its time a period does not end.
    turn(&coordinator.app.db, ring, PERIOD).await.unwrap();
    assert_eq!(masters(dir), ["master-1.key"]);
    back_up(&pool, "two_back").await;
    time_passes(&pool).await;
    go_through(&pool, ring).await;
    assert_eq!(masters(dir), ["master-2.key"]);
    back_up(&pool, "one_back").await;
    time_passes(&pool).await;
    go_through(&pool, ring).await;
    assert_eq!(masters(dir), ["master-3.key"]);
    assert_eq!(client.content(&kept).await, bytes);
    let in_use = "SELECT count(*) FROM data_keys WHERE master_key_id = 'master-3'";
    assert_eq!(count(&pool, in_use).await, 2);
    back_up(&pool, "now").await;

    for name in ["two_back", "one_back"] {
        restore(&pool, name).await;
        let refused = open(&pool, dir).await.unwrap_err().to_string();
        assert!(
            refused.contains("destroyed at the end of their period"),
            "{refused}"
        );
        // Nor is the key that is there passed off as the old one.
        let newer = std::fs::read(dir.join("master-3.key")).unwrap();
        let old = match name {
            "two_back" => dir.join("master-1.key"),
            _ => dir.join("master-2.key"),
        };
        let copied = std::fs::copy(dir.join("master-3.key"), &old);
        copied.unwrap();
        let refused = open(&pool, dir).await.unwrap_err().to_string();
        assert!(refused.contains("is not the master key"), "{refused}");
        std::fs::remove_file(&old).unwrap();
        assert_eq!(std::fs::read(dir.join("master-3.key")).unwrap(), newer);
    }
    // The backup of this period opens everything, and a file of a later key is left alone.
    restore(&pool, "now").await;
    open(&pool, dir).await.unwrap();
    assert_eq!(client.content(&kept).await, bytes);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn each_coordinator_makes_the_next_key_by_itself_and_one_that_was_away_catches_up(
    pool: PgPool,
) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let file = client.upload("a", &content(CHUNK)).await;
    // Another coordinator, with the keys of this period.
    let other = tempfile::tempdir().unwrap();
    for name in ["network", "master-1", "token-1"] {
        let name = format!("{name}.key");
        std::fs::copy(
            coordinator.keys_dir.path().join(&name),
            other.path().join(&name),
        )
        .unwrap();
    }
    let away = open(&pool, other.path()).await.unwrap();
    let db = &coordinator.app.db;
    let ring = &coordinator.app.keys.ring;

    // While it runs and has not looked yet, the next key waits for it.
    let runs = RunningCoordinator {
        peer_id: away.identity.public().to_peer_id().to_string(),
        key_ids: away.held(),
    };
    let mut connection = pool.acquire().await.unwrap();
    note_running(&mut connection, &runs, away.instance)
        .await
        .unwrap();
    time_passes(&pool).await;
    for _ in 0..3 {
        turn(db, ring, PERIOD).await.unwrap();
    }
    let in_use = "SELECT count(*) FROM keys WHERE key_id = 'master-2'";
    assert_eq!(count(&pool, in_use).await, 0);
    away.refresh(db).await.unwrap();
    assert!(away.held().contains(&"master-2".to_owned()));
    let gone = "DELETE FROM running_coordinators WHERE peer_id = $1";
    sqlx::query(gone)
        .bind(&runs.peer_id)
        .execute(&pool)
        .await
        .unwrap();

    // It is away for two periods, and follows.
    go_through(&pool, ring).await;
    time_passes(&pool).await;
    go_through(&pool, ring).await;
    assert_eq!(masters(coordinator.keys_dir.path()), ["master-3.key"]);
    let back = open(&pool, other.path()).await.unwrap();
    assert!(back.held().contains(&"master-3".to_owned()));
    turn(db, &back, PERIOD).await.unwrap();
    assert_eq!(masters(other.path()), ["master-3.key"]);
    assert_eq!(client.content(&file).await, content(CHUNK));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_newer_key_is_not_destroyed_beside_a_restored_database(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let dir = coordinator.keys_dir.path();
    std::fs::copy(dir.join("master-1.key"), dir.join("master-2.key")).unwrap();
    turn(&coordinator.app.db, &coordinator.app.keys.ring, PERIOD)
        .await
        .unwrap();
    assert_eq!(masters(dir), ["master-1.key", "master-2.key"]);
}
