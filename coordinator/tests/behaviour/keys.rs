//! Key files and the database that names them belong together, or nothing starts.

use std::path::Path;

use coordinator::database::Pool;
use coordinator::keys::{self, KeyRing};
use kit::Entropy;
use sqlx::PgPool;

use crate::support::count;

async fn open(dir: &Path, pool: &PgPool) -> anyhow::Result<KeyRing> {
    keys::open(dir, &Pool::new(pool.clone()), &mut Entropy::system().rng()).await
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_first_start_makes_keys_and_later_ones_find_them(pool: PgPool) {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path(), &pool).await.unwrap();
    let second = open(dir.path(), &pool).await.unwrap();
    assert_eq!(first.network_id, second.network_id);
    assert_eq!(first.token(), second.token());
    assert_eq!(count(&pool, "SELECT count(*) FROM keys").await, 3);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn two_first_starts_at_once_agree_on_one_set_of_keys(pool: PgPool) {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = tokio::join!(open(dir.path(), &pool), open(dir.path(), &pool));
    // The identity's file is made outside of the database's lock: one may have to start again.
    let opened: Vec<_> = [first, second].into_iter().flatten().collect();
    let again = open(dir.path(), &pool).await.unwrap();
    assert!(!opened.is_empty());
    assert!(
        opened
            .iter()
            .all(|ring| ring.network_id == again.network_id)
    );
    assert_eq!(count(&pool, "SELECT count(*) FROM keys").await, 3);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_lost_keys_directory_is_never_replaced_by_a_fresh_one(pool: PgPool) {
    let (dir, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    open(dir.path(), &pool).await.unwrap();
    let error = open(empty.path(), &pool).await.unwrap_err().to_string();
    assert!(error.contains(".key does not exist"), "{error}");
    assert!(error.contains("backup"), "{error}");
    for made in ["network.key", "master-1.key", "token-1.key"] {
        assert!(!empty.path().join(made).exists(), "{made}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_keys_of_another_network_are_refused(pool: PgPool) {
    let (dir, foreign) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    open(dir.path(), &pool).await.unwrap();
    // As if made for a database that was empty.
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("DELETE FROM keys")
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    open(foreign.path(), &pool).await.unwrap();

    let error = open(dir.path(), &pool).await.unwrap_err().to_string();
    assert!(
        error.contains("key that this database was written with"),
        "{error}"
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_second_coordinator_with_copied_keys_has_an_identity_of_its_own(pool: PgPool) {
    let (first_dir, second_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = open(first_dir.path(), &pool).await.unwrap();
    for name in ["network.key", "master-1.key", "token-1.key"] {
        std::fs::copy(first_dir.path().join(name), second_dir.path().join(name)).unwrap();
    }
    let second = open(second_dir.path(), &pool).await.unwrap();
    assert_eq!(first.network_id, second.network_id);
    assert_ne!(first.identity.public(), second.identity.public());
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_database_never_holds_a_key(pool: PgPool) {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), &pool).await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    for named in keys::tables::keys::list(&mut connection).await.unwrap() {
        let file = dir.path().join(format!("{}.key", named.id));
        let key = std::fs::read_to_string(file).unwrap();
        assert_ne!(hex::encode(named.check_value), key.trim());
    }
}
