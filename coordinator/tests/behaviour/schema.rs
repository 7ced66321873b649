//! A coordinator works with the schema it knows and says what to do about any other.

use coordinator::database;
use coordinator::database::Pool;
use sqlx::PgPool;

use crate::support::count;

#[sqlx::test(migrations = false)]
async fn an_empty_database_is_migrated_and_migrating_again_changes_nothing(pool: PgPool) {
    let error = database::check_schema(&Pool::new(pool.clone()))
        .await
        .unwrap_err()
        .to_string();
    let behind = format!("{} migrations behind", database::MIGRATIONS.iter().count());
    assert!(error.contains(&behind), "{error}");
    assert!(error.contains("coordinator migrate"), "{error}");
    database::migrate(&Pool::new(pool.clone())).await.unwrap();
    database::check_schema(&Pool::new(pool.clone()))
        .await
        .unwrap();
    database::migrate(&Pool::new(pool.clone())).await.unwrap();
    let platform = "SELECT count(*) FROM accounts WHERE owner_kind = 'platform'";
    assert_eq!(count(&pool, platform).await, 5);
}

#[sqlx::test(migrations = false)]
async fn two_coordinators_that_migrate_at_once_both_succeed(pool: PgPool) {
    let db = Pool::new(pool.clone());
    let (first, second) = tokio::join!(database::migrate(&db), database::migrate(&db));
    first.unwrap();
    second.unwrap();
    database::check_schema(&Pool::new(pool.clone()))
        .await
        .unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_older_schema_is_told_from_a_current_one(pool: PgPool) {
    let older = "DELETE FROM _sqlx_migrations
         WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    sqlx::query(older).execute(&pool).await.unwrap();
    let error = database::check_schema(&Pool::new(pool.clone()))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("1 migrations behind"), "{error}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_schema_of_a_newer_release_is_refused(pool: PgPool) {
    let newer = "INSERT INTO _sqlx_migrations
             (version, description, installed_on, success, checksum, execution_time)
         VALUES (9999, 'from the future', now(), true, 'x', 1)";
    sqlx::query(newer).execute(&pool).await.unwrap();
    for outcome in [
        database::migrate(&Pool::new(pool.clone())).await,
        database::check_schema(&Pool::new(pool.clone())).await,
    ] {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("9999"), "{error}");
        assert!(error.contains("newer coordinator"), "{error}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_schema_of_another_make_is_refused(pool: PgPool) {
    let other = "UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 2";
    sqlx::query(other).execute(&pool).await.unwrap();
    let error = database::migrate(&Pool::new(pool.clone()))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("migration 2"), "{error}");
    assert!(error.contains("same release"), "{error}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_database_that_does_not_answer_is_not_taken_for_an_old_one(pool: PgPool) {
    let denied = "ALTER TABLE _sqlx_migrations RENAME COLUMN success TO failure";
    sqlx::query(denied).execute(&pool).await.unwrap();
    let error = database::check_schema(&Pool::new(pool.clone()))
        .await
        .unwrap_err()
        .to_string();
    assert!(!error.contains("behind"), "{error}");
}

/// The last one before coordinators were upgraded one by one.
const FOUNDATIONS: i64 = 11;

/// What a function does with partitions that have been kept for long enough.
const OLD_EVIDENCE: &str = "EXECUTE FORMAT('DROP TABLE %I', OLD.RELNAME)";

/// While coordinators are upgraded one after the other, those of the release before work with the new
/// schema: it has to have everything that they use, and to ask for nothing that they do not write.
#[test]
fn migrations_take_nothing_away_from_the_release_that_still_runs() {
    let newer = database::MIGRATIONS
        .iter()
        .filter(|m| m.version > FOUNDATIONS);
    for migration in newer {
        let lines = migration.sql.as_str().lines();
        let code: Vec<&str> = lines
            .map(|line| line.split("--").next().unwrap_or_default())
            .collect();
        for statement in code.join(" ").split(';') {
            let words: Vec<String> = statement
                .split_whitespace()
                .map(str::to_uppercase)
                .collect();
            let text = words.join(" ").replace(OLD_EVIDENCE, "");
            for taken in [
                "DROP TABLE",
                "DROP COLUMN",
                "RENAME",
                "SET NOT NULL",
                "SET DATA TYPE",
            ] {
                assert!(
                    !text.contains(taken),
                    "migration {} says {taken}: {text}",
                    migration.version
                );
            }
            let text = text.replace("IS NOT NULL", "");
            for added in text.split("ADD COLUMN ").skip(1) {
                let column = added.split(", ADD ").next().unwrap_or_default();
                assert!(
                    !column.contains("NOT NULL")
                        || column.contains("DEFAULT")
                        || column.contains("GENERATED"),
                    "migration {} wants a value that the release before does not write: {column}",
                    migration.version
                );
            }
        }
    }
}
