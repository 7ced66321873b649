//! Lists of files: every file once, in order, whatever its name is and however small the pages are.

use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use sqlx::PgPool;

use crate::support::{Client, Coordinator};
use model::ids::UserId;

/// Ready files of one moment; the names may repeat.
async fn add_files(pool: &PgPool, user: UserId, names: &[&str]) {
    sqlx::query(
        "INSERT INTO files (file_id, user_id, filename, content_type, size_bytes, chunk_count,
                            chunk_size_bytes, replication, state, created_at, completed_at, paid_until)
         SELECT gen_random_uuid(), $1, name, 'text/plain', 0, 0, 4096, 3, 'ready',
                '2026-01-01T00:00:00.123456Z', now(), now()
         FROM unnest($2::text[]) AS name",
    )
    .bind(user.as_uuid())
    .bind(names)
    .execute(pool)
    .await
    .unwrap();
}

async fn pages(client: &Client, query: &str) -> Vec<Value> {
    let (mut files, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/files?{query}{cursor}");
        let page = client.get(&path).await.expect(StatusCode::OK);
        files.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return files,
        }
    }
}

fn names(files: &[Value]) -> Vec<&str> {
    let names = files.iter().map(|file| file["filename"].as_str().unwrap());
    names.collect()
}

fn prefix(text: &str) -> String {
    format!(
        "sort=name&prefix={}",
        utf8_percent_encode(text, NON_ALPHANUMERIC)
    )
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn files_of_one_moment_and_one_name_are_each_listed_once(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (user, client) = coordinator.user().await;
    add_files(&pool, user, &["same"; 23]).await;
    for query in [
        "limit=5",
        "limit=5&sort=name",
        "limit=1&sort=-created_at",
        "limit=23",
    ] {
        let files = pages(&client, query).await;
        let mut ids: Vec<_> = files
            .iter()
            .map(|file| file["file_id"].to_string())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((files.len(), ids.len()), (23, 23), "{query}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn names_are_listed_in_the_order_of_their_bytes(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (user, client) = coordinator.user().await;
    let mut expected = [
        "b",
        "B",
        "a",
        "a b",
        "a/b",
        "ä",
        "文件",
        "a\nb",
        "\"quoted\"",
        "_",
        "%",
        "🦀",
        "~",
    ];
    add_files(&pool, user, &expected).await;
    expected.sort_unstable();
    let files = pages(&client, "sort=name&limit=2").await;
    assert_eq!(names(&files), expected);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_prefix_means_its_own_characters_and_no_pattern(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (user, client) = coordinator.user().await;
    let all = [
        "50% off",
        "50_off",
        "500",
        "a\\b",
        "dir/ü",
        "dir/über",
        "dir/u",
        "dir2/x",
        "🦀🦀",
        "🦀",
    ];
    add_files(&pool, user, &all).await;
    for (text, expected) in [
        ("50%", vec!["50% off"]),
        ("50_", vec!["50_off"]),
        ("50", vec!["50% off", "500", "50_off"]),
        ("a\\", vec!["a\\b"]),
        ("dir/ü", vec!["dir/ü", "dir/über"]),
        ("dir/", vec!["dir/u", "dir/ü", "dir/über"]),
        ("🦀", vec!["🦀", "🦀🦀"]),
        ("none", vec![]),
    ] {
        let by_name = pages(&client, &prefix(text)).await;
        assert_eq!(names(&by_name), expected, "{text}");
        let by_time = pages(&client, &prefix(text).replace("sort=name&", "limit=1&")).await;
        assert_eq!(by_time.len(), expected.len(), "{text}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn newer_files_come_first_and_none_of_another_user(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (user, client) = coordinator.user().await;
    let (other, _) = coordinator.user().await;
    add_files(&pool, user, &["0", "1", "2", "3"]).await;
    add_files(&pool, other, &["theirs"]).await;
    sqlx::query("UPDATE files SET completed_at = completed_at + filename::int * interval '1 microsecond' WHERE user_id = $1")
        .bind(user.as_uuid())
        .execute(&pool)
        .await
        .unwrap();
    let files = pages(&client, "limit=1").await;
    assert_eq!(names(&files), ["3", "2", "1", "0"]);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_took_long_to_come_is_new_when_it_is_there(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    let slow = client.initiate("slow", 1).await.expect(StatusCode::CREATED);
    client.upload("quick", b"x").await;
    client
        .send_chunk(&slow, 0, b"x")
        .await
        .expect(StatusCode::OK);
    let slow = client.complete(&slow).await.expect(StatusCode::CREATED);
    assert!(slow["created_at"].as_str() < slow["completed_at"].as_str());
    for query in ["", "sort=-completed_at&limit=1", "sort=-created_at"] {
        assert_eq!(
            names(&pages(&client, query).await),
            ["slow", "quick"],
            "{query}"
        );
    }
}

/// Names that no compression shortens, as an older coordinator took them.
#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn names_of_any_length_that_are_there_are_listed_in_order(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (user, client) = coordinator.user().await;
    let noise = hex::encode(crate::support::content(2048));
    let long = |text: &str| format!("{}{text}", &noise[..4000]);
    let all = [
        long("b"),
        long("a"),
        noise[..256].to_owned(),
        noise[..255].to_owned(),
        long(""),
    ];
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    add_files(&pool, user, &all).await;
    let mut expected = all.clone();
    expected.sort_unstable();
    for query in [
        "sort=name&limit=1".to_owned(),
        prefix(&noise[..3000]),
        prefix(&noise[..100]),
    ] {
        let listed = pages(&client, &query).await;
        let fitting =
            |name: &&&str| !query.contains("prefix") || query.len() < 500 || name.len() > 3000;
        let expected: Vec<&str> = expected.iter().filter(fitting).copied().collect();
        assert_eq!(names(&listed), expected, "{query}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_upload_under_way_is_in_no_list(pool: PgPool) {
    let (coordinator, _nodes) = Coordinator::with_fleet(pool, &[]).await;
    let (_, client) = coordinator.customer().await;
    client.initiate("a", 10).await.expect(StatusCode::CREATED);
    for query in ["", "sort=name"] {
        assert!(pages(&client, query).await.is_empty());
    }
}
