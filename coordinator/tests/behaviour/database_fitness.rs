//! A database, or a way to it, that would lose something is refused before anything is kept in it.

use std::net::SocketAddr;

use coordinator::config::Config;
use coordinator::database::{self, Pool};
use kit::{Clock, Entropy};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, PgPool};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::support::soon;

/// The way to the test's database, without encryption.
fn way(pool: &PgPool) -> PgConnectOptions {
    let way = PgConnectOptions::clone(&pool.connect_options());
    way.ssl_mode(PgSslMode::Disable)
}

/// Of a database or a role, which all tests share.
fn fresh_name() -> String {
    let id = Entropy::system().uuid_v7(Clock::system().now());
    format!("fsn_{}", id.simple())
}

async fn connect(way: &PgConnectOptions) -> anyhow::Result<Pool> {
    let config = Config::load(None, &["database.acquire_timeout=20s".to_owned()])?;
    database::connect(way.to_url_lossy().as_str(), &config.database).await
}

async fn run(pool: &PgPool, statement: String) {
    sqlx::query(AssertSqlSafe(statement))
        .execute(pool)
        .await
        .unwrap();
}

async fn setting(pool: &PgPool, name: &str) -> String {
    let query = sqlx::query_scalar("SELECT current_setting($1)").bind(name);
    query.fetch_one(pool).await.unwrap()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_database_that_cannot_hold_every_name_is_refused_with_how_to_make_one(pool: PgPool) {
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = fresh_name();
        run(
            &pool,
            format!(
                "CREATE DATABASE \"{name}\" ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
            ),
        )
        .await;
        let way = way(&pool).database(&name);
        let refused = format!("{:#}", connect(&way).await.unwrap_err());
        assert!(refused.contains(encoding), "{refused}");
        assert!(refused.contains("createdb --encoding UTF8"), "{refused}");
        run(&pool, format!("DROP DATABASE \"{name}\" WITH (FORCE)")).await;
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_pooler_that_drops_start_up_options_takes_no_durability_away(pool: PgPool) {
    let name = pool.connect_options().get_database().unwrap().to_owned();
    run(
        &pool,
        format!("ALTER DATABASE \"{name}\" SET synchronous_commit = off"),
    )
    .await;
    let way = way(&pool);
    let pooler = without_options((way.get_host().to_owned(), way.get_port())).await;
    let through = way.host("127.0.0.1").port(pooler.port());
    let through = soon(connect(&through)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(
            setting(through.connections(), "synchronous_commit").await,
            "on"
        );
        let timeout = setting(through.connections(), "idle_in_transaction_session_timeout").await;
        assert_eq!(timeout, "10s");
        // Another session has it, too.
        through
            .connections()
            .acquire()
            .await
            .unwrap()
            .close()
            .await
            .unwrap();
    }
}

/// Passes connections on, but for the `options` of their first message, as PgBouncer does with
/// `ignore_startup_parameters`.
async fn without_options(server: (String, u16)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(async move {
                let length = client.read_u32().await.unwrap() as usize;
                let mut message = vec![0; length - 4];
                client.read_exact(&mut message).await.unwrap();
                let message = without_option(&message);
                let length = u32::try_from(message.len() + 4).unwrap();
                server.write_u32(length).await.unwrap();
                server.write_all(&message).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

/// Version, then pairs of texts that end with a zero, then a zero.
fn without_option(message: &[u8]) -> Vec<u8> {
    let (version, pairs) = message.split_at(4);
    let texts: Vec<&[u8]> = pairs.split(|byte| *byte == 0).collect();
    let mut kept = version.to_vec();
    for pair in texts.chunks_exact(2).filter(|pair| !pair[0].is_empty()) {
        if pair[0] != b"options" {
            for text in pair {
                kept.extend_from_slice(text);
                kept.push(0);
            }
        }
    }
    kept.push(0);
    kept
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_role_that_lacks_a_right_is_told_which(pool: PgPool) {
    database::check_rights(&Pool::new(pool.clone()))
        .await
        .unwrap();
    let role = fresh_name();
    run(
        &pool,
        format!("CREATE ROLE \"{role}\" LOGIN PASSWORD 'secret'"),
    )
    .await;
    let way = way(&pool).username(&role).password("secret");
    let mut told = Vec::new();
    for grant in ["USAGE", "CREATE"] {
        run(
            &pool,
            format!("GRANT {grant} ON SCHEMA public TO \"{role}\""),
        )
        .await;
        let poor = soon(connect(&way)).await.unwrap();
        told.push(format!(
            "{:#}",
            database::check_rights(&poor).await.unwrap_err()
        ));
        poor.close().await;
    }
    run(&pool, format!("DROP OWNED BY \"{role}\"")).await;
    run(&pool, format!("DROP ROLE \"{role}\"")).await;
    assert!(told[0].contains("GRANT CREATE ON SCHEMA"), "{}", told[0]);
    assert!(told[1].contains("does not own"), "{}", told[1]);
}
