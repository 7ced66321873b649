//! Whoever has the database, or the heads of its days, can tell whether the ledger is what it was.

use coordinator::billing::ledger_verify;
use coordinator::files::delete;

use coordinator::bookkeeping::tables::days as ledger_days;
use coordinator::database::Pool;
use ledger::{Format, KeptHead};
use proto::{LedgerDay, MicroCredits, NetworkId, VerifyingKey};
use serde_json::Value;
use sqlx::PgPool;

use crate::support::economy::{
    GB, RICH, days, first_midnight, hours, penalise, rich_user, settle_at, store, three_nodes,
    verified,
};
use crate::support::{Coordinator, count, seal};

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn every_tampering_with_the_ledger_or_its_sources_is_found(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let user = rich_user(&pool, RICH).await;
    while seal(&pool, 50).await.is_some() {}
    let file = store(app, user, &nodes, GB).await;
    let kept = store(app, user, &nodes, 5_000).await;
    penalise(&pool, nodes[0], hours(midnight, 2), "failed", 1_000_000).await;
    settle_at(app, days(midnight, 2)).await;
    delete::delete(&app.files, user, file).await.unwrap();
    settle_at(app, days(midnight, 4)).await;
    verified(&coordinator).await;
    let keys = &app.keys.ring;
    let key = VerifyingKey::of_keypair(&keys.network).unwrap();
    let changes = [
        (
            "UPDATE entries SET amount_microcredits = amount_microcredits + 1 WHERE transfer_id =
          (SELECT transfer_id FROM transfers WHERE kind = 'earn' LIMIT 1)",
            "hash is not that of its content",
        ),
        (
            "UPDATE transfers SET cause = '{}' WHERE kind = 'delete'",
            "hash is not that of its content",
        ),
        (
            "UPDATE transfers SET block = NULL WHERE kind = 'use'",
            "transfers and should have",
        ),
        (
            "UPDATE blocks SET hash = sha256('x') WHERE block_number = 1",
            "block 1: its hash",
        ),
        (
            "UPDATE accounts SET balance_microcredits = balance_microcredits + 1 WHERE account = 'held'",
            "/held: its balance",
        ),
        (
            "UPDATE files SET paid_microcredits = paid_microcredits + 1 WHERE state = 'ready'",
            "escrow is",
        ),
        (
            "UPDATE earning_events SET bytes = ARRAY[1, 1, 1] WHERE cause = 'delete'",
            "still earn",
        ),
        (
            "UPDATE earning_events SET at = at + interval '1 ms' WHERE cause = 'complete'",
            "byte-milliseconds, events say",
        ),
        (
            "UPDATE node_days SET gross = gross + 1 WHERE gross > 0",
            "is not byte-seconds times pay",
        ),
        (
            "UPDATE node_days SET available = available + 1 WHERE transfer_id IS NOT NULL",
            "its transfer moved",
        ),
        (
            "UPDATE settled_penalties SET amount = amount + 1",
            "is not what it costs",
        ),
        (
            "UPDATE settlement_days SET signature = sha256('x') || sha256('y') WHERE signature IS NOT NULL",
            "not signed by the network's key",
        ),
        (
            "INSERT INTO uptime_windows (slot, node_id, seen)
             SELECT extract(epoch FROM starts_at)::bigint / 640 + 1, '00000000-0000-0000-0000-000000000000', 1
             FROM settlement_days ORDER BY day_number DESC LIMIT 1",
            "an uptime of 1000000 ppm was settled, its windows say 0",
        ),
        (
            "UPDATE settlement_days SET ends_at = ends_at + interval '1 hour' WHERE day_number = 3",
            "does not begin where",
        ),
    ];
    for (change, found) in changes {
        // In a transaction that sees its own change and takes it back; triggers would refuse it.
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query("SET LOCAL session_replication_role = replica")
            .execute(&mut *transaction)
            .await
            .unwrap();
        let changed = sqlx::query(change)
            .execute(&mut *transaction)
            .await
            .unwrap();
        assert!(changed.rows_affected() > 0, "{change}");
        let network = Some((keys.network_id, key.clone()));
        let report = ledger_verify::replay(&mut transaction, network)
            .await
            .unwrap();
        let told = report
            .findings
            .told()
            .iter()
            .any(|finding| finding.contains(found));
        assert!(told, "{change}: {:#?}", report.findings);
        transaction.rollback().await.unwrap();
    }
    delete::delete(&app.files, user, kept).await.unwrap();
    verified(&coordinator).await;
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_head_of_each_day_is_signed_and_handed_to_nodes(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let midnight = first_midnight(&pool).await;
    rich_user(&pool, 5).await;
    settle_at(app, midnight).await;
    let mut connection = pool.acquire().await.unwrap();
    let head = ledger_days::last_head(&mut connection).await;
    assert_eq!(head.unwrap(), None); // nothing was sealed yet
    seal(&pool, 10).await.unwrap();
    settle_at(app, days(midnight, 1)).await;
    let head = ledger_days::last_head(&mut connection).await;
    let head = head.unwrap().unwrap();
    let key = VerifyingKey::of_keypair(&app.keys.ring.network).unwrap();
    assert_eq!(head.verify(app.keys.ring.network_id, &key), Ok(()));
    assert_eq!(head.block_number, 1);
    assert!(midnight.to_string().starts_with(&head.day), "{head:?}");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn an_export_has_every_entry_and_sums_to_zero(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let (midnight, nodes) = (first_midnight(&pool).await, three_nodes(&pool).await);
    let user = rich_user(&pool, RICH).await;
    store(app, user, &nodes, GB).await;
    while seal(&pool, 2).await.is_some() {}
    settle_at(app, days(midnight, 1)).await;
    let (mut csv, mut lines) = (Vec::new(), Vec::new());
    let export = async |format, out: &mut Vec<u8>| {
        let written = ledger_verify::export(&Pool::new(pool.clone()), None, format, out).await;
        written.unwrap()
    };
    let transfers = export(Format::Csv, &mut csv).await;
    let again = export(Format::JsonLines, &mut lines).await;
    assert_eq!(transfers, again);
    let entries = count(&pool, "SELECT count(*) FROM entries").await;
    let csv = String::from_utf8(csv).unwrap();
    assert_eq!(csv.lines().count() as i64, entries + 1);
    let amounts = csv
        .lines()
        .skip(1)
        .map(|line| line.rsplit(',').next().unwrap());
    assert_eq!(
        amounts
            .map(|amount| amount.parse::<i64>().unwrap())
            .sum::<i64>(),
        0
    );
    let lines = String::from_utf8(lines).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line.get("transfer_id").is_some())
        .collect();
    assert_eq!(
        lines.len() as i64,
        count(&pool, "SELECT count(*) FROM transfers").await
    );
    // In the order of the chain; what is not sealed yet comes last.
    let blocks: Vec<Option<u64>> = lines.iter().map(|line| line["block"].as_u64()).collect();
    assert_eq!(blocks[0], Some(1));
    assert_eq!(*blocks.last().unwrap(), None);
    let exported: usize = lines
        .iter()
        .map(|line| line["entries"].as_array().unwrap().len())
        .sum();
    assert_eq!(exported as i64, entries);
}

/// What a coordinator's operator could do who has the network's key: the last block says something else, and the head of
/// the last day is signed anew.
async fn rewrite_the_last_block(pool: &PgPool, network: &proto::Keypair, network_id: NetworkId) {
    let mut transaction = pool.begin().await.unwrap();
    sqlx::query("SET LOCAL session_replication_role = replica")
        .execute(&mut *transaction)
        .await
        .unwrap();
    let (label, number): (String, i64) = sqlx::query_as(
        "SELECT label, head_block FROM settlement_days ORDER BY day_number DESC LIMIT 1",
    )
    .fetch_one(&mut *transaction)
    .await
    .unwrap();
    let rows: Vec<(uuid::Uuid, String, jiff_sqlx::Timestamp, String)> = sqlx::query_as(
        "SELECT transfer_id, kind, at, cause::text FROM transfers WHERE block = $1 ORDER BY transfer_id",
    )
    .bind(number)
    .fetch_all(&mut *transaction)
    .await
    .unwrap();
    let mut hashes = Vec::new();
    for (id, kind, at, cause) in rows {
        let entries: Vec<(uuid::Uuid, String, i64)> = sqlx::query_as(
            "SELECT owner_id, account, amount_microcredits FROM entries
             WHERE transfer_id = $1 ORDER BY owner_id, account COLLATE \"C\"",
        )
        .bind(id)
        .fetch_all(&mut *transaction)
        .await
        .unwrap();
        let key = format!("rewritten:{id}");
        let hash = ledger::transfer_hash(
            ledger::TransferId::from_uuid(id),
            &kind,
            &key,
            at.to_jiff(),
            &cause,
            entries
                .iter()
                .map(|(owner, account, amount)| (*owner, &**account, MicroCredits::new(*amount))),
        );
        sqlx::query("UPDATE transfers SET idempotency_key = $2, hash = $3 WHERE transfer_id = $1")
            .bind(id)
            .bind(key)
            .bind(&hash[..])
            .execute(&mut *transaction)
            .await
            .unwrap();
        hashes.push(hash);
    }
    let previous = "SELECT previous_hash FROM blocks WHERE block_number = $1";
    let previous: Vec<u8> = sqlx::query_scalar(previous)
        .bind(number)
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
    let previous = previous[..].try_into().unwrap();
    let hash = ledger::block_hash(&previous, number as u64, hashes.into_iter());
    let head = LedgerDay::sign(network, network_id, &label, number as u64, hash).unwrap();
    sqlx::query(
        "WITH block AS (UPDATE blocks SET hash = $2 WHERE block_number = $1)
         UPDATE settlement_days SET head_hash = $2, signature = $3 WHERE label = $4",
    )
    .bind(number)
    .bind(&hash[..])
    .bind(&head.signature.as_bytes()[..])
    .bind(label)
    .execute(&mut *transaction)
    .await
    .unwrap();
    transaction.commit().await.unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_rewritten_last_day_is_told_by_the_heads_that_nodes_kept(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let app = &coordinator.app;
    let midnight = first_midnight(&pool).await;
    for day in 1..=2 {
        rich_user(&pool, 5).await;
        seal(&pool, 10).await.unwrap();
        settle_at(app, days(midnight, day)).await;
    }
    let ring = &app.keys.ring;
    let (network_id, key) = (
        ring.network_id,
        VerifyingKey::of_keypair(&ring.network).unwrap(),
    );
    let network = || Some((network_id, key.clone()));
    let mut connection = pool.acquire().await.unwrap();
    let head = ledger_days::last_head(&mut connection).await.unwrap();
    let kept = [KeptHead {
        source: "ledger-days.json".to_owned(),
        head: head.unwrap(),
    }];
    let exported = async || {
        let mut out = Vec::new();
        let named = Some((network_id, hex::encode(key.to_bytes())));
        let written =
            ledger_verify::export(&Pool::new(pool.clone()), named, Format::JsonLines, &mut out)
                .await;
        written.unwrap();
        out
    };
    let report = ledger_verify::verify(&Pool::new(pool.clone()), network(), &kept).await;
    assert!(report.unwrap().is_sound());
    let report = ledger::verify_export(&exported().await[..], &kept, network()).unwrap();
    assert_eq!(report.findings.told(), [""; 0]);
    // Today, and the two that were settled.
    assert_eq!((report.blocks, report.days), (2, 3));

    rewrite_the_last_block(&pool, &ring.network, network_id).await;
    let report = ledger_verify::verify(&Pool::new(pool.clone()), network(), &[])
        .await
        .unwrap();
    assert!(report.is_sound(), "by itself it is: {:#?}", report.findings);
    let report = ledger_verify::verify(&Pool::new(pool.clone()), network(), &kept)
        .await
        .unwrap();
    let told = report.findings.told().join("\n");
    assert!(told.contains("the ledger was rewritten"), "{told}");
    assert!(told.contains("cannot both be of one ledger"), "{told}");
    let export = exported().await;
    let alone = ledger::verify_export(&export[..], &[], network()).unwrap();
    assert_eq!(alone.findings.told(), [""; 0]);
    let report = ledger::verify_export(&export[..], &kept, network()).unwrap();
    let told = report.findings.told().join("\n");
    assert!(told.contains("the ledger was rewritten"), "{told}");
}
