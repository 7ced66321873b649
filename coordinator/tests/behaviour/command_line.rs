//! The program that administrators run: `coordinator admin …`, `coordinator ledger …`, with nothing but the
//! database.

use std::process::{Command, Output, Stdio};

use coordinator::config::Config;
use coordinator::{database, fleet};
use kit::Clock;

use jiff::SignedDuration;
use rules::fleet_guard::{Alarm, FleetHealth};
use serde_json::Value;
use sqlx::{ConnectOptions, PgPool};

use crate::support::economy::{
    GB, RICH, days, first_midnight, idle_node, rich_user, settle_at, store, three_nodes,
};
use crate::support::{Coordinator, count, seal};

fn command(pool: &PgPool, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"));
    let url = pool.connect_options().to_url_lossy().to_string();
    command
        .env_clear()
        .env("FSN_DATABASE_URL", url)
        .stdin(Stdio::null())
        .args(arguments);
    command
}

async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap()
}

pub(crate) async fn coordinator(pool: &PgPool, arguments: &[&str]) -> Output {
    output(command(pool, arguments)).await
}

pub(crate) async fn succeeds(pool: &PgPool, arguments: &[&str]) -> String {
    let output = coordinator(pool, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) async fn fails(pool: &PgPool, arguments: &[&str]) -> String {
    let output = coordinator(pool, arguments).await;
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    told(&output)
}

fn told(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap()
}

/// Without a database, with this environment and no other.
fn alone(environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coordinator"));
    command
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .args(arguments);
    command.output().unwrap()
}

#[test]
fn settings_are_called_good_only_when_nothing_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("coordinator.toml");
    std::fs::write(&file, "").unwrap();
    let check = ["config", "--check", file.to_str().unwrap()];
    let missing = alone(&[], &check);
    assert_eq!(missing.status.code(), Some(1));
    assert!(told(&missing).contains("database.url"), "{missing:?}");

    let url = ("FSN_DATABASE_URL", "postgres://u@h/db");
    let good = alone(&[url, ("FSN_UPLOADS_WINDW", "3")], &check);
    assert!(told(&good).contains("is good"), "{good:?}");
    assert!(told(&good).contains("FSN_UPLOADS_WINDW"), "{good:?}");
    let empty = alone(&[url, ("FSN_P2P_EXTERNAL_ADDRS", "")], &check);
    assert!(told(&empty).contains("is good"), "{empty:?}");
}

#[test]
fn a_postgres_that_does_not_answer_is_told_as_such() {
    let url = ("FSN_DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
    let patience = ("FSN_DATABASE_ACQUIRE_TIMEOUT", "100ms");
    let refused = alone(&[url, patience], &["migrate"]);
    assert_eq!(refused.status.code(), Some(1));
    for part in ["127.0.0.1:1", "is it running", "Connection refused"] {
        assert!(told(&refused).contains(part), "{part}: {refused:?}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_database_that_is_not_there_is_told_with_what_to_do(pool: PgPool) {
    let nowhere = (*pool.connect_options()).clone().database("nowhere");
    let mut migrate = command(&pool, &["migrate"]);
    migrate.env("FSN_DATABASE_URL", nowhere.to_url_lossy().to_string());
    let missing = output(migrate).await;
    assert_eq!(missing.status.code(), Some(1));
    let missing = told(&missing);
    for part in ["createdb", "\"nowhere\" does not exist"] {
        assert!(missing.contains(part), "{part}: {missing}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn who_stands_still_in_a_transaction_loses_it_after_ten_seconds(pool: PgPool) {
    let config = Config::load(None, &[]).unwrap();
    let url = pool.connect_options().to_url_lossy().to_string();
    let own = database::connect(&url, &config.database).await.unwrap();
    let setting = sqlx::query_scalar::<_, String>("SHOW idle_in_transaction_session_timeout");
    assert_eq!(setting.fetch_one(own.connections()).await.unwrap(), "10s");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn administrators_look_at_nodes_suspend_and_restore_them(pool: PgPool) {
    let node = idle_node(&pool).await.to_string();
    let shown = succeeds(&pool, &["admin", "node", "list"]).await;
    assert!(
        shown.contains(&node) && shown.contains("probation"),
        "{shown}"
    );
    assert!(shown.contains("never seen"), "{shown}");
    for (change, presence) in [
        ("last_seen_at = now()", "seen 20"),
        ("offline_since = now()", "offline; seen 20"),
        ("away_since = now()", "away, its replicas are replaced"),
        ("awaits_adoption_since = now()", "kept out"),
    ] {
        let update = sqlx::AssertSqlSafe(format!("UPDATE nodes SET {change}"));
        sqlx::query(update).execute(&pool).await.unwrap();
        let shown = succeeds(&pool, &["admin", "node", "list"]).await;
        assert!(shown.contains(presence), "{shown}");
    }
    let none = succeeds(&pool, &["admin", "node", "list", "--state", "suspended"]).await;
    assert!(none.contains("No node is suspended"), "{none}");

    let suspend = ["admin", "node", "suspend", &node, "--reason"];
    let refused = fails(&pool, &[&suspend[..], &[" "]].concat()).await;
    assert!(refused.contains("--reason has 1 to 500 bytes"), "{refused}");
    let done = succeeds(&pool, &[&suspend[..], &["it serves wrong bytes"]].concat()).await;
    assert!(
        done.contains("was probation and is now suspended"),
        "{done}"
    );
    let again = fails(&pool, &[&suspend[..], &["again"]].concat()).await;
    assert!(again.contains("the node is suspended already"), "{again}");
    let listed = succeeds(&pool, &["admin", "node", "list", "--state", "suspended"]).await;
    assert!(listed.contains(&node), "{listed}");

    let restore = ["admin", "node", "restore", &node, "--reason", "a new disk"];
    let done = succeeds(&pool, &restore).await;
    assert!(done.contains("is now on probation"), "{done}");
    let again = fails(&pool, &restore).await;
    assert!(again.contains("can be restored"), "{again}");
    let shown = succeeds(&pool, &["admin", "node", "show", &node]).await;
    for part in [
        "it serves wrong bytes",
        "a new disk",
        "admin",
        "1000000 of 1000000",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let nobody = uuid::Uuid::from_u128(7).to_string();
    let unknown = fails(&pool, &["admin", "node", "show", &nobody]).await;
    assert!(unknown.contains("no node has the id"), "{unknown}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn administrators_end_the_hold_after_a_mass_failure(pool: PgPool) {
    let resume = ["admin", "repair", "resume", "--reason", "it was the switch"];
    let nothing = succeeds(&pool, &resume).await;
    assert!(nothing.contains("Nothing was on hold"), "{nothing}");
    let (mut connection, now) = (pool.acquire().await.unwrap(), Clock::system().now());
    let alarm = Alarm {
        raised_at: now,
        until: now + SignedDuration::from_hours(2),
    };
    let health = FleetHealth {
        nodes: 20,
        troubled: 5,
    };
    fleet::tables::node_status::raise_alarm(&mut connection, &alarm, health)
        .await
        .unwrap();
    let done = succeeds(&pool, &resume).await;
    assert!(done.contains("The hold has ended"), "{done}");
    let ended = "SELECT count(*) FROM fleet_alarms
                 WHERE until <= clock_timestamp() AND ended_by = 'it was the switch'";
    assert_eq!(count(&pool, ended).await, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_ledger_is_verified_and_exported_and_a_forged_one_is_told(pool: PgPool) {
    let keeper = Coordinator::start(pool.clone()).await;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let user = rich_user(&pool, RICH).await;
    store(&keeper.app, user, &nodes, GB).await;
    settle_at(&keeper.app, days(midnight, 1)).await;
    while seal(&pool, 50).await.is_some() {}

    let sound = succeeds(&pool, &["ledger", "verify"]).await;
    assert!(sound.contains("Everything is as it has to be"), "{sound}");
    let lines = succeeds(&pool, &["ledger", "export", "--format", "jsonl"]).await;
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let transfers = count(&pool, "SELECT count(*) FROM transfers").await;
    let exported = lines.filter(|line| line["transfer_id"].is_string());
    assert_eq!(exported.count() as i64, transfers);
    let csv = succeeds(&pool, &["ledger", "export"]).await;
    let entries = count(&pool, "SELECT count(*) FROM entries").await;
    assert_eq!(csv.lines().count() as i64, entries + 1);

    sqlx::query("UPDATE accounts SET balance_microcredits = balance_microcredits + 1 WHERE account = 'held'")
        .execute(&pool)
        .await
        .unwrap();
    let forged = fails(&pool, &["ledger", "verify"]).await;
    assert!(forged.contains("/held: its balance is"), "{forged}");
    assert!(forged.contains("the ledger is not what it was"), "{forged}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn administrators_put_nodes_out_and_forget_those_that_never_came(pool: PgPool) {
    let never = idle_node(&pool).await;
    sqlx::query("UPDATE nodes SET last_seen_at = NULL")
        .execute(&pool)
        .await
        .unwrap();
    let never = never.to_string();
    let keeper = Coordinator::start(pool.clone()).await;
    let nodes = three_nodes(&pool).await;
    let user = rich_user(&pool, RICH).await;
    store(&keeper.app, user, &nodes, GB).await;
    let holder = nodes[0].to_string();

    let remove = |node: &str| {
        [
            "admin",
            "node",
            "remove",
            node,
            "--reason",
            "nobody knows it",
        ]
        .map(str::to_owned)
    };
    let remove = async |node: &str, more: &[&str]| {
        let arguments = remove(node);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        coordinator(&pool, &[&arguments[..], more].concat()).await
    };
    let forgotten = remove(&never, &[]).await;
    assert!(told(&forgotten).contains("is forgotten"), "{forgotten:?}");
    let unknown = remove(&never, &[]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        told(&unknown).contains("no node has this id"),
        "{unknown:?}"
    );

    let holds = remove(&holder, &[]).await;
    assert_eq!(holds.status.code(), Some(1));
    assert!(told(&holds).contains("--lose-copies"), "{holds:?}");
    let out = remove(&holder, &["--lose-copies"]).await;
    assert!(told(&out).contains("is now disqualified"), "{out:?}");
    let shown = succeeds(&pool, &["admin", "node", "show", &holder]).await;
    assert!(shown.contains("nobody knows it"), "{shown}");
    let again = remove(&holder, &["--lose-copies"]).await;
    assert!(told(&again).contains("disqualified already"), "{again:?}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn administrators_say_who_may_add_nodes_and_how_many(pool: PgPool) {
    let keeper = Coordinator::start(pool.clone()).await;
    let (user, _) = keeper.user().await;
    let email: String = sqlx::query_scalar("SELECT email FROM users WHERE user_id = $1")
        .bind(user.as_uuid())
        .fetch_one(&pool)
        .await
        .unwrap();
    let show = [
        "admin",
        "user",
        "show",
        &email,
        "--set",
        "nodes.admission=token",
    ];
    let before = succeeds(&pool, &show).await;
    assert!(before.contains("0 nodes"), "{before}");
    let allowed = succeeds(&pool, &["admin", "user", "allow-nodes", &email, "3"]).await;
    assert!(allowed.contains("may have 3 nodes"), "{allowed}");
    let token = ["admin", "node-token", "create", "--operator", &email];
    assert!(succeeds(&pool, &token).await.starts_with("fsnt_"));
    let after = succeeds(&pool, &show).await;
    assert!(
        after.contains("3 nodes") && after.contains("1 (nodes"),
        "{after}"
    );
    let none = succeeds(&pool, &["admin", "user", "allow-nodes", &email, "0"]).await;
    assert!(none.contains("no more nodes"), "{none}");
    let nobody = fails(
        &pool,
        &["admin", "user", "allow-nodes", "nobody@example.com", "1"],
    )
    .await;
    assert!(nobody.contains("nobody is registered"), "{nobody}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn administrators_begin_restore_mode_look_at_it_and_end_it_without_a_node_that_is_gone(
    pool: PgPool,
) {
    let node = idle_node(&pool).await.to_string();
    let never = succeeds(&pool, &["restore", "status"]).await;
    assert!(never.contains("never been on"), "{never}");
    let nothing = succeeds(&pool, &["restore", "finish"]).await;
    assert!(nothing.contains("nothing to finish"), "{nothing}");

    let begun = succeeds(&pool, &["restore", "begin"]).await;
    assert!(begun.contains("Restore mode is on."), "{begun}");
    let again = succeeds(&pool, &["restore", "begin"]).await;
    assert!(again.contains("on already"), "{again}");
    let status = succeeds(&pool, &["restore", "status"]).await;
    assert!(status.contains("0 of 1 nodes"), "{status}");
    assert!(
        status.contains(&node) && status.contains("waits"),
        "{status}"
    );

    let refused = fails(&pool, &["restore", "finish"]).await;
    assert!(refused.contains("--without-missing-nodes"), "{refused}");
    let finish = ["restore", "finish", "--without-missing-nodes"];
    let ended = succeeds(&pool, &finish).await;
    assert!(ended.contains("Restore mode was on from"), "{ended}");
    assert!(ended.contains("kept out"), "{ended}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_reader_that_has_seen_enough_ends_a_command_without_a_word(pool: PgPool) {
    for arguments in [
        &["config"][..],
        &["completions", "bash"],
        &["ledger", "export"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(&pool, arguments);
        command.stdout(writer);
        let output = output(command).await;
        let code = output.status.code();
        assert_eq!(code, Some(141), "{arguments:?}: {}", told(&output));
        assert_eq!(told(&output), "");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_secret_among_the_arguments_is_refused_and_not_repeated(pool: PgPool) {
    let secret = "database.url=postgres://me:hunter2@127.0.0.1/storage";
    let refused = fails(&pool, &["admin", "user", "list", "--set", secret]).await;
    assert!(
        refused.contains("to everybody on this machine"),
        "{refused}"
    );
    assert!(!refused.contains("hunter2"), "{refused}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_administrators_do_stands_in_the_security_log_and_is_read_there(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let (user, _) = coordinator.user().await;
    let email = format!("{user}@example.com");
    succeeds(&pool, &["admin", "set-role", &email, "admin"]).await;
    fails(&pool, &["admin", "set-role", "nobody@example.com", "admin"]).await;
    let read = async |filters: &[&str]| {
        let arguments = ["admin", "events", "list", "--output", "json"];
        let told = succeeds(&pool, &[&arguments[..], filters].concat()).await;
        let told: Value = serde_json::from_str(&told).unwrap();
        told["items"].as_array().unwrap().clone()
    };
    let roles = read(&["--user", &email, "--since", "1h"]).await;
    assert_eq!(roles.len(), 1);
    assert_eq!(roles[0]["kind"], "role-changed");
    assert_eq!(roles[0]["subject"], "admin");
    let actor = roles[0]["actor"].as_str().unwrap();
    assert!(actor.starts_with("command line: "), "{actor}");
    let commands = read(&["--kind", "admin-command"]).await;
    assert_eq!(commands.len(), 2, "reading the log is not in it");
    assert_eq!(commands[0]["outcome"], "refused");
    assert_eq!(commands[1]["outcome"], "done");
    let said = commands[1]["subject"].as_str().unwrap();
    assert!(said.contains("SetRole") && said.contains(&email), "{said}");
    assert!(
        read(&["--outcome", "refused", "--address", "192.0.2.1"])
            .await
            .is_empty()
    );
    let table = succeeds(&pool, &["admin", "events", "list", "--limit", "1"]).await;
    assert!(table.contains("admin-command"), "{table}");
}
