//! Several coordinators on one database: any of them serves any request, and one that dies is missed by
//! nobody at the others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use local_cluster::client::{Session, chunk_of};
use local_cluster::wait::wait_for;
use local_cluster::{Cluster, Member, Programs, TemporaryCluster};
use sqlx::{Connection, PgConnection};
use support::{CHUNK, LONG, pair, random_bytes};

const FIRST: Member = Member::Coordinator(1);
const SECOND: Member = Member::Coordinator(2);

/// The user of the cluster at each of its two coordinators, with one and the same token.
async fn at_both(cluster: &Cluster) -> [Session; 2] {
    let first = cluster.session().await.unwrap();
    let second = first.at(cluster.client_of(2).unwrap());
    [first, second]
}

#[tokio::test]
async fn who_asks_one_coordinator_does_not_notice_that_the_other_is_killed() {
    let cluster = pair(4, "").await;
    let [first, second] = at_both(&cluster).await;
    let old = random_bytes(6 * CHUNK + 5);
    let size = Some(old.len() as u64);
    // Every node has registered with the first: the second uses them as its own.
    let stored = second.upload("old", size, old.clone()).await.unwrap();
    assert!(first.download(stored.file_id).await.unwrap() == old);
    assert_eq!(second.files().await.unwrap().items.len(), 1);

    let content = random_bytes(5 * CHUNK + 3);
    let plan = first.initiate("f", content.len() as u64).await.unwrap();
    for index in [0, 2] {
        let chunk = chunk_of(&plan, &content, index);
        let sent = first.send_chunk(plan.upload_id, index, chunk).await;
        sent.unwrap();
    }

    let uploads = (0..4).map(|_| second.upload("new", size, old.clone()));
    let downloads = (0..4).map(|_| second.download(stored.file_id));
    let (new, back, killed) =
        futures::join!(join_all(uploads), join_all(downloads), cluster.kill(FIRST));
    killed.unwrap();
    assert!(back.into_iter().all(|back| back.unwrap() == old));
    for file in new {
        assert!(second.download(file.unwrap().file_id).await.unwrap() == old);
    }

    // A session of the dead one goes on at the other: same token, same chunks. One is sent again.
    let status = second.upload_status(plan.upload_id).await.unwrap();
    assert_eq!(status.missing, [1, 3, 4, 5]);
    for index in [1, 2, 3, 4, 5] {
        let chunk = chunk_of(&plan, &content, index);
        let sent = second.send_chunk(plan.upload_id, index, chunk).await;
        sent.unwrap();
    }
    let file = second.complete(plan.upload_id).await.unwrap();
    assert!(second.download(file.file_id).await.unwrap() == content);
}

#[tokio::test]
async fn a_coordinator_that_joins_later_is_found_by_all_nodes() {
    let mut cluster = pair(3, "").await;
    let [first, _] = at_both(&cluster).await;
    let content = random_bytes(CHUNK);
    cluster.stop(SECOND).await.unwrap();
    let file = first.upload_in_steps("f", &content).await.unwrap();
    cluster.start(SECOND).await.unwrap();
    cluster.stop(FIRST).await.unwrap();
    cluster.until_online().await.unwrap();
    let second = first.at(cluster.client_of(2).unwrap());
    assert!(second.download(file.file_id).await.unwrap() == content);
    second.upload_in_steps("g", &content).await.unwrap();
}

/// `coordinator keys …` beside the first coordinator's keys.
fn keys(cluster: &Cluster, args: &[&str]) -> Command {
    let mut command = Command::new(Programs::beside_this_one().unwrap().coordinator);
    command.arg("keys").args(args).arg("--config");
    command.arg(cluster.config_file(FIRST));
    command
}

fn keys_dir(cluster: &Cluster, coordinator: Member) -> PathBuf {
    let config = cluster.config_file(coordinator);
    config.parent().unwrap().join("keys")
}

#[tokio::test]
async fn the_master_key_is_rotated_while_files_go_up_and_down_at_both() {
    let mut cluster = pair(3, "").await;
    let sessions = at_both(&cluster).await;
    let content = random_bytes(2 * CHUNK + 1);
    let size = Some(content.len() as u64);
    let first = sessions[0].upload("before", size, content.clone()).await;
    let stored = Mutex::new(vec![first.unwrap().file_id]);

    let done = AtomicBool::new(false);
    let traffic = sessions.iter().map(async |session| {
        while !done.load(Ordering::Relaxed) {
            let file = session.upload("f", size, content.clone()).await.unwrap();
            stored.lock().unwrap().push(file.file_id);
            let any = stored.lock().unwrap()[0];
            assert!(session.download(any).await.unwrap() == content);
        }
    });
    let rotation = async {
        let mut rotate = keys(&cluster, &["rotate"]);
        let mut rotate = rotate.stdout(Stdio::piped()).spawn().unwrap();
        let file = keys_dir(&cluster, FIRST).join("master-2.key");
        let made = wait_for("the new key's file", LONG, async || {
            file.exists().then_some(())
        });
        made.await.unwrap();
        // What the command asks for: it waits for the coordinator that lacks the file.
        assert!(rotate.try_wait().unwrap().is_none());
        let copy = keys_dir(&cluster, SECOND).join("master-2.key");
        fs::copy(&file, &copy).unwrap();
        let ended = wait_for("the rotation to end", LONG, async || {
            rotate.try_wait().unwrap()
        });
        assert!(ended.await.unwrap().success());
        let mut said = String::new();
        rotate.stdout.unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains("Waiting for coordinator 12D3"), "{said}");
        done.store(true, Ordering::Relaxed);
    };
    futures::join!(join_all(traffic), rotation);

    let list = keys(&cluster, &["list"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("2 of 2 that run"), "{list}");

    // Forgotten and thrown away, the old key is missed by nothing. Nobody waits for the minute here.
    let url = cluster.status().unwrap().postgres.url;
    let mut database = PgConnection::connect(&url).await.unwrap();
    sqlx::query(
        "UPDATE keys SET retired_at = now() - interval '1 hour' WHERE retired_at IS NOT NULL",
    )
    .execute(&mut database)
    .await
    .unwrap();
    let forgotten = wait_for("the old key to wrap nothing", LONG, async || {
        let forgot = keys(&cluster, &["forget", "master-1"]).output().unwrap();
        forgot.status.success().then_some(())
    });
    forgotten.await.unwrap();
    for coordinator in [FIRST, SECOND] {
        fs::remove_file(keys_dir(&cluster, coordinator).join("master-1.key")).unwrap();
        cluster.stop(coordinator).await.unwrap();
    }
    for coordinator in [FIRST, SECOND] {
        cluster.start(coordinator).await.unwrap();
    }
    cluster.until_online().await.unwrap();
    for file in stored.into_inner().unwrap() {
        assert!(sessions[1].download(file).await.unwrap() == content);
    }
}

/// Settings under which a day lasts for seconds and every replica is asked for in each of them.
const HURRIED: &str = "[coordinator.proofs]
interval = \"2s\"
retry_after = \"2s\"
[coordinator.money]
settlement_interval = \"5s\"
";

/// How far the audit of each node has come: rounds begun, replicas asked for in all of them, and how many of
/// these got no answer in time.
async fn audited(database: &mut PgConnection) -> BTreeMap<String, (i64, i64, i64)> {
    let query = "SELECT node_id::text, round,
            coalesce((SELECT sum(passed + failed + missed) FROM audit_statements a
                      WHERE a.node_id = s.node_id), 0)::bigint,
            coalesce((SELECT sum(missed) FROM audit_statements a
                      WHERE a.node_id = s.node_id), 0)::bigint
         FROM audit_schedule s";
    let rows: Vec<(String, i64, i64, i64)> =
        sqlx::query_as(query).fetch_all(database).await.unwrap();
    rows.into_iter()
        .map(|(node, round, asked, missed)| (node, (round, asked, missed)))
        .collect()
}

async fn settled_days(database: &mut PgConnection) -> i64 {
    let query = "SELECT count(*) FROM settlement_days d WHERE counted_at IS NOT NULL AND NOT EXISTS
                     (SELECT 1 FROM node_days n
                      WHERE n.day_number = d.day_number AND n.settled_at IS NULL)";
    sqlx::query_scalar(query).fetch_one(database).await.unwrap()
}

async fn until_settled(database: &mut PgConnection, days: i64) {
    let reached = wait_for(format!("day {days} to be settled"), LONG, async || {
        (settled_days(database).await >= days).then_some(())
    });
    reached.await.unwrap();
}

/// The coordinator's own check of everything that was ever paid.
fn assert_ledger_is_sound(cluster: &TemporaryCluster) {
    let output = Command::new(Programs::beside_this_one().unwrap().coordinator)
        .args(["ledger", "verify", "--config"])
        .arg(cluster.config_file(FIRST))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
}

#[tokio::test]
async fn audits_settlement_and_deletions_go_on_whichever_coordinator_is_killed() {
    const REPLICAS: i64 = 24;
    let mut cluster = pair(3, HURRIED).await;
    let [first, _] = at_both(&cluster).await;
    let url = cluster.status().unwrap().postgres.url;
    let mut database = PgConnection::connect(&url).await.unwrap();
    let content = random_bytes(REPLICAS as usize * CHUNK);
    let file = first.upload_in_steps("kept", &content).await.unwrap();
    let doomed = first.upload_in_steps("doomed", &content).await.unwrap();
    first.delete(doomed.file_id).await.unwrap();
    let forgotten = wait_for("the deleted file's rows to go", LONG, async || {
        let query = "SELECT count(*) FROM replicas";
        let left: i64 = sqlx::query_scalar(query)
            .fetch_one(&mut database)
            .await
            .unwrap();
        (left == 3 * REPLICAS).then_some(())
    });
    forgotten.await.unwrap();
    until_settled(&mut database, 1).await;

    let before = audited(&mut database).await;
    let days = settled_days(&mut database).await;
    for (turn, member) in [FIRST, SECOND, FIRST].into_iter().enumerate() {
        cluster.kill(member).await.unwrap();
        // Whatever the dead one was at, the other goes on with it.
        until_settled(&mut database, days + 2 * (turn as i64 + 1)).await;
        let at_death = audited(&mut database).await;
        let every_node = wait_for("another round of each node", LONG * 3, async || {
            let now = audited(&mut database).await;
            let advanced = |node: &String| now[node].0 >= at_death[node].0 + 2;
            at_death.keys().all(advanced).then_some(())
        });
        every_node.await.unwrap();
        cluster.start(member).await.unwrap();
    }
    cluster.until_online().await.unwrap();

    // Nothing was skipped, nothing doubled: each round has asked for each replica once, and once more where no
    // answer came in time.
    let after = audited(&mut database).await;
    for (node, (round, asked, missed)) in &before {
        let rounds = after[node].0 - round;
        let asked = after[node].1 - asked;
        let again = after[node].2 - missed;
        let expected = (rounds - 1) * REPLICAS..=(rounds + 1) * REPLICAS + again;
        assert!(
            expected.contains(&asked),
            "{asked} replicas were asked for in {rounds} rounds of {REPLICAS}, {again} of them again"
        );
    }
    for node in cluster.client_of(2).unwrap().nodes().await.unwrap() {
        assert_eq!(node.score_ppm, 1_000_000, "{node:?}");
    }
    let gone = wait_for("the deleted file to leave the nodes", LONG, async || {
        let query = "SELECT count(*) FROM purges";
        let waiting: i64 = sqlx::query_scalar(query)
            .fetch_one(&mut database)
            .await
            .unwrap();
        (waiting == 0).then_some(())
    });
    gone.await.unwrap();
    assert!(first.download(file.file_id).await.unwrap() == content);
    assert_ledger_is_sound(&cluster);
}
