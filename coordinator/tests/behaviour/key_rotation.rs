//! Keys change while files go up and down.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use coordinator::database::Pool;
use coordinator::keys::rotation::{announce, forget, put_to_use, rewrap_some};
use coordinator::keys::tables::keys::{RunningCoordinator, note_running};
use coordinator::keys::{self, KeyPurpose, KeyRing};
use http::StatusCode;
use kit::Entropy;
use sqlx::PgPool;

use crate::support::{CHUNK, Coordinator, content, count};

const NO_TTL: Duration = Duration::ZERO;

async fn ring(coordinator: &Coordinator) -> KeyRing {
    let dir = coordinator.keys_dir.path();
    let ring = keys::open(dir, &coordinator.app.db, &mut Entropy::system().rng()).await;
    ring.unwrap()
}

/// What `coordinator keys rotate` does, all but the wrapping anew. Returns the new key's id.
async fn rotate(coordinator: &Coordinator, purpose: KeyPurpose) -> String {
    let (db, ring) = (&coordinator.app.db, ring(coordinator).await);
    let key = announce(db, &ring, purpose, &mut Entropy::system().rng()).await;
    let key = key.unwrap();
    put_to_use(db, &key).await.unwrap();
    key.id
}

async fn rewrap_all(pool: &PgPool, ring: &KeyRing) -> usize {
    let mut sum = 0;
    loop {
        let done = rewrap_some(&Pool::new(pool.clone()), ring, &mut Entropy::system().rng()).await;
        match done.unwrap() {
            0 => return sum,
            done => sum += done,
        }
    }
}

async fn wrapped_by(pool: &PgPool, id: &str) -> u64 {
    let mut connection = pool.acquire().await.unwrap();
    let wrapped = keys::tables::keys::wrapped_by(&mut connection)
        .await
        .unwrap();
    let found = wrapped.into_iter().find(|(key, _)| key == id);
    found.map_or(0, |(_, count)| count)
}

async fn retired_long_ago(pool: &PgPool) {
    sqlx::query(
        "UPDATE keys SET retired_at = now() - interval '1 day' WHERE retired_at IS NOT NULL",
    )
    .execute(pool)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn files_stay_readable_while_the_master_key_is_rotated_and_after_it_is_forgotten(
    pool: PgPool,
) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let bytes = content(2 * CHUNK + 5);
    let old = client.upload("old", &bytes).await;

    // The coordinator learns of it by what it meets: it has not looked since.
    assert_eq!(rotate(&coordinator, KeyPurpose::Master).await, "master-2");
    let meanwhile = client.upload("meanwhile", &bytes).await;
    let ring = ring(&coordinator).await;
    assert_eq!(rewrap_all(&pool, &ring).await, 2);
    assert_eq!(wrapped_by(&pool, "master-1").await, 0);
    assert_eq!(client.content(&old).await, bytes);
    assert_eq!(client.content(&meanwhile).await, bytes);

    coordinator
        .app
        .keys
        .ring
        .refresh(&Pool::new(pool.clone()))
        .await
        .unwrap();
    let new = client.upload("new", &bytes).await;
    assert_eq!(wrapped_by(&pool, "master-2").await, 3);

    retired_long_ago(&pool).await;
    forget(&Pool::new(pool.clone()), "master-1", NO_TTL)
        .await
        .unwrap();
    std::fs::remove_file(ring.file("master-1")).unwrap();
    coordinator
        .app
        .keys
        .ring
        .refresh(&Pool::new(pool.clone()))
        .await
        .unwrap();
    assert!(coordinator.app.keys.ring.held_master("master-1").is_err());
    for file in [&old, &meanwhile, &new] {
        assert_eq!(client.content(file).await, bytes);
    }
    assert_eq!(self::ring(&coordinator).await.master().id(), "master-2");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_running_coordinator_without_the_new_key_holds_its_use_up(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let ring = ring(&coordinator).await;
    let rng = &mut Entropy::system().rng();
    let key = announce(&Pool::new(pool.clone()), &ring, KeyPurpose::Master, rng)
        .await
        .unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let mut other = RunningCoordinator {
        peer_id: "other".to_owned(),
        key_ids: vec!["master-1".to_owned(), "token-1".to_owned()],
    };
    let instance = uuid::Uuid::from_u128(7);
    note_running(&mut connection, &other, instance)
        .await
        .unwrap();
    let error = put_to_use(&Pool::new(pool.clone()), &key)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("coordinator other"), "{error}");
    assert_eq!(self::ring(&coordinator).await.master().id(), "master-1");

    // Repeated, the command goes on with the key that it announced.
    let again = announce(&Pool::new(pool.clone()), &ring, KeyPurpose::Master, rng)
        .await
        .unwrap();
    assert_eq!(again, key);
    other.key_ids.push(key.id.clone());
    let instance = uuid::Uuid::from_u128(7);
    note_running(&mut connection, &other, instance)
        .await
        .unwrap();
    put_to_use(&Pool::new(pool.clone()), &key).await.unwrap();
    put_to_use(&Pool::new(pool.clone()), &key).await.unwrap();
    assert_eq!(self::ring(&coordinator).await.master().id(), "master-2");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_coordinator_starts_and_serves_without_a_key_that_is_only_announced(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let ring = ring(&coordinator).await;
    let rng = &mut Entropy::system().rng();
    let key = announce(&Pool::new(pool.clone()), &ring, KeyPurpose::Master, rng)
        .await
        .unwrap();
    let file = ring.file(&key.id);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let other = self::ring(&coordinator).await;
    assert!(!other.held().contains(&key.id));

    // It is copied there; the ring finds it at its next look.
    std::fs::write(&file, bytes).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    other.refresh(&Pool::new(pool.clone())).await.unwrap();
    assert!(other.held().contains(&key.id));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_coordinator_that_missed_the_rotation_turns_nothing_back(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    let stale = ring(&coordinator).await;
    rotate(&coordinator, KeyPurpose::Master).await;
    coordinator
        .app
        .keys
        .ring
        .refresh(&Pool::new(pool.clone()))
        .await
        .unwrap();
    client.upload("new", &content(CHUNK)).await;
    assert_eq!(rewrap_all(&pool, &stale).await, 0);
    assert_eq!(wrapped_by(&pool, "master-2").await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_key_is_not_forgotten_while_anything_may_need_it(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool.clone(), &[]).await;
    let (_, client) = coordinator.customer().await;
    client.upload("old", &content(CHUNK)).await;
    let refused = async |id: &str| {
        let error = forget(&Pool::new(pool.clone()), id, NO_TTL)
            .await
            .unwrap_err();
        error.to_string()
    };
    assert!(refused("master-1").await.contains("in use"));
    assert!(refused("master-9").await.contains("names no key"));
    rotate(&coordinator, KeyPurpose::Master).await;
    retired_long_ago(&pool).await;
    assert!(
        refused("master-1").await.contains("still needed"),
        "it wraps a data key"
    );
    rewrap_all(&pool, &ring(&coordinator).await).await;
    sqlx::query("UPDATE keys SET retired_at = now() WHERE retired_at IS NOT NULL")
        .execute(&pool)
        .await
        .unwrap();
    assert!(
        refused("master-1").await.contains("still needed"),
        "it was in use a moment ago"
    );
    assert_eq!(count(&pool, "SELECT count(*) FROM keys").await, 4);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn tokens_of_before_stay_good_when_the_token_key_is_rotated(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (_, before) = coordinator.user().await;
    rotate(&coordinator, KeyPurpose::Token).await;
    coordinator
        .app
        .keys
        .ring
        .refresh(&Pool::new(pool.clone()))
        .await
        .unwrap();
    let (_, after) = coordinator.user().await;
    assert_eq!(coordinator.app.keys.ring.token().0, "token-2");
    for client in [before, after] {
        let me = client.get("/api/v1/auth/me").await;
        assert_eq!(me.status, StatusCode::OK);
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_key_that_nodes_have_pinned_is_not_rotated(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let ring = ring(&coordinator).await;
    let rng = &mut Entropy::system().rng();
    assert!(
        announce(&Pool::new(pool.clone()), &ring, KeyPurpose::Network, rng)
            .await
            .is_err()
    );
}
