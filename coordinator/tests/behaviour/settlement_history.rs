//! Random histories of files, nodes, clocks and crashes: whatever happens, and however often each step
//! is cut off and done again, what was used is charged and what was held is paid, once.

use coordinator::bookkeeping::chart;
use std::sync::Arc;

use coordinator::billing::{ledger_verify, settlement};
use coordinator::compose::Coordinator as App;
use coordinator::database::Pool;
use coordinator::files::upload::complete;
use coordinator::files::{delete, renewal};
use jiff::{SignedDuration, Timestamp};
use model::ids::{FileId, UserId};
use model::terms::Terms;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use proto::NodeId;
use sqlx::PgPool;

use crate::support::economy::{
    Offer, begin_offered, first_midnight, forgive, idle_node, penalise, rich_user, set_clock,
    settle_all,
};
use crate::support::{Coordinator, count, seal, total};

const USERS: usize = 3;
const NODES: usize = 4;

#[derive(Debug, Clone)]
enum Happening {
    /// Minutes; clocks go back, too.
    Time(i64),
    Store {
        user: usize,
        without: usize,
        offer: Offer,
    },
    Abandon {
        user: usize,
        offer: Offer,
    },
    Delete {
        nth: usize,
    },
    Penalty {
        node: usize,
        kind: &'static str,
        length: i64,
    },
    Forgive {
        nth: usize,
    },
    State {
        node: usize,
        state: &'static str,
    },
    /// One step of one worker, or of two coordinators at once.
    Step {
        which: usize,
        twice: bool,
    },
    /// A step whose connection to the database breaks at some moment of it.
    Crash {
        which: usize,
    },
    Settle,
    Seal {
        limit: i64,
    },
}

fn happening() -> impl Strategy<Value = Happening> {
    let size = prop_oneof![1u32..1000, 1_000u32..1_000_000, 1_000_000u32..2_000_000_000];
    // Sold before names were billed, and after; paid by the trial not at all, in part, or all.
    let terms = prop::option::of(1u32..=4096).prop_map(Terms::from_name_bytes);
    let offer = (size, terms, prop_oneof![3 => Just(0), 1 => 1u32..1_000_000]);
    let offer = offer.prop_map(|(size, terms, trial_ppm)| Offer {
        size,
        terms,
        trial_ppm,
    });
    prop_oneof![
        6 => (-60i64..60 * 30).prop_map(Happening::Time),
        1 => (60i64 * 24..60 * 24 * 20).prop_map(Happening::Time),
        6 => (0..USERS, 0..NODES, offer.clone())
            .prop_map(|(user, without, offer)| Happening::Store { user, without, offer }),
        1 => (0..USERS, offer).prop_map(|(user, offer)| Happening::Abandon { user, offer }),
        3 => (0usize..100).prop_map(|nth| Happening::Delete { nth }),
        2 => (0..NODES, prop::sample::select(vec!["failed", "missed", "self_reported"]), 1i64..1 << 32)
            .prop_map(|(node, kind, length)| Happening::Penalty { node, kind, length }),
        1 => (0usize..100).prop_map(|nth| Happening::Forgive { nth }),
        1 => (0..NODES, prop::sample::select(vec!["active", "suspended", "disqualified", "drained"]))
            .prop_map(|(node, state)| Happening::State { node, state }),
        9 => (0usize..6, any::<bool>()).prop_map(|(which, twice)| Happening::Step { which, twice }),
        5 => (0usize..6).prop_map(|which| Happening::Crash { which }),
        2 => Just(Happening::Settle),
        2 => (1i64..20).prop_map(|limit| Happening::Seal { limit }),
    ]
}

async fn step(app: &App, which: usize) -> anyhow::Result<bool> {
    Ok(match which {
        0 => renewal::renew_one(&app.files).await?,
        1 => renewal::expire_one(&app.files).await?,
        2 => settlement::cut_day(&app.billing).await?,
        3 => settlement::count_day(&app.billing).await?,
        4 => settlement::charge_one_user(&app.billing).await?,
        _ => settlement::settle_one_node(&app.billing).await?,
    })
}

/// Breaks every connection to the database but the one that does it.
async fn break_connections(pool: &PgPool) {
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let _ = sqlx::query(cut).execute(pool).await;
}

struct History {
    app: Arc<App>,
    users: Vec<UserId>,
    nodes: Vec<NodeId>,
    stored: Vec<(UserId, FileId)>,
    misses: Vec<uuid::Uuid>,
    now: Timestamp,
}

impl History {
    async fn happen(&mut self, happening: &Happening) {
        let (app, pool) = (Arc::clone(&self.app), self.app.db.connections().clone());
        match *happening {
            Happening::Time(minutes) => {
                self.now = self
                    .now
                    .saturating_add(SignedDuration::from_mins(minutes))
                    .unwrap();
                set_clock(&pool, self.now).await;
            }
            Happening::Store {
                user,
                without,
                offer,
            } => {
                let mut nodes = self.nodes.clone();
                nodes.remove(without);
                if self.can_pay(user, offer.size).await && self.are_in(&nodes).await {
                    let user = self.users[user];
                    let upload = begin_offered(&app, user, &nodes, offer).await;
                    let file = complete::complete(&app.files, user, upload, None, None)
                        .await
                        .unwrap();
                    self.stored.push((user, file.id));
                }
            }
            Happening::Abandon { user, offer } => {
                if self.can_pay(user, offer.size).await {
                    let user = self.users[user];
                    let upload = begin_offered(&app, user, &self.nodes[..3], offer).await;
                    complete::abort(&app.files, user, upload).await.unwrap();
                }
            }
            Happening::Delete { nth } => {
                if nth < self.stored.len() {
                    let (user, file) = self.stored.swap_remove(nth);
                    let _ = delete::delete(&app.files, user, file).await; // it may have expired
                }
            }
            Happening::Penalty { node, kind, length } => {
                let id = penalise(&pool, self.nodes[node], self.now, kind, length).await;
                if kind == "missed" {
                    self.misses.push(id);
                }
            }
            Happening::Forgive { nth } => {
                if nth < self.misses.len() {
                    forgive(&pool, self.misses.swap_remove(nth), self.now).await;
                }
            }
            Happening::State { node, state } => {
                sqlx::query(
                    "UPDATE nodes SET state = $2 WHERE node_id = $1 AND state <> 'disqualified'",
                )
                .bind(self.nodes[node].as_uuid())
                .bind(state)
                .execute(&pool)
                .await
                .unwrap();
            }
            Happening::Step {
                which,
                twice: false,
            } => {
                step(&app, which).await.unwrap();
            }
            Happening::Step { which, twice: true } => {
                let (first, second) = tokio::join!(step(&app, which), step(&app, which));
                first.unwrap();
                second.unwrap();
            }
            Happening::Crash { which } => {
                // Whatever it had come to: it is done, or it is as if it had never begun.
                let _ = tokio::join!(step(&app, which), break_connections(&pool));
                while sqlx::query("SELECT 1").execute(&pool).await.is_err() {}
            }
            Happening::Settle => settle_all(&app).await,
            Happening::Seal { limit } => {
                seal(&pool, limit).await;
            }
        }
    }

    /// No file is acknowledged on nodes that were thrown out.
    async fn are_in(&self, nodes: &[NodeId]) -> bool {
        let nodes: Vec<uuid::Uuid> = nodes.iter().map(NodeId::as_uuid).collect();
        let out = "SELECT count(*) FROM nodes WHERE node_id = ANY($1) AND state = 'disqualified'";
        let out = sqlx::query_scalar::<_, i64>(out).bind(nodes);
        out.fetch_one(self.app.db.connections()).await.unwrap() == 0
    }

    async fn can_pay(&self, user: usize, size: u32) -> bool {
        let account = chart::available(self.users[user]);
        crate::support::balance(self.app.db.connections(), account).await
            > i64::from(size) * 4 / 1000 + 300
    }
}

/// size · 3 · price · time, in parts of a micro-credit; of each file that has ended.
async fn exact_use(pool: &PgPool) -> i64 {
    let charges: Vec<i64> = sqlx::query_scalar(
        "SELECT least((cause->>'paid_microcredits')::numeric, ceil(
                  coalesce(cause->>'billed_bytes', cause->>'size_bytes')::numeric * 3 * 1250000
                  * extract(epoch FROM (cause->>'until')::timestamptz - (cause->>'since')::timestamptz)
                  / (1000000000::numeric * 2592000)))::bigint
         FROM transfers WHERE kind IN ('delete', 'expire')",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    charges.iter().sum()
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn whatever_happens_use_is_charged_and_storage_is_paid_once(pool: PgPool) {
    let coordinator = Coordinator::start(pool.clone()).await;
    let midnight = first_midnight(&pool).await;
    let mut history = History {
        app: Arc::clone(&coordinator.app),
        users: Vec::new(),
        nodes: Vec::new(),
        stored: Vec::new(),
        misses: Vec::new(),
        now: midnight,
    };
    for _ in 0..USERS {
        history.users.push(rich_user(&pool, 60_000_000).await);
    }
    for _ in 0..NODES {
        history.nodes.push(idle_node(&pool).await);
    }
    let happenings = prop::collection::vec(happening(), 80);
    let happenings = happenings.new_tree(&mut TestRunner::default()).unwrap();
    let happenings = happenings.current();
    for happening in &happenings {
        history.happen(happening).await;
    }
    let app = Arc::clone(&history.app);
    for (user, file) in history.stored.drain(..) {
        let _ = delete::delete(&app.files, user, file).await;
    }
    // Clocks may have gone back into days that are closed; all of them are over by then.
    let far = history
        .now
        .saturating_add(SignedDuration::from_hours(24 * 3))
        .unwrap();
    set_clock(&pool, far).await;
    settle_all(&app).await;
    while seal(&pool, 100).await.is_some() {}

    let report = ledger_verify::verify(&Pool::new(pool.clone()), None, &[])
        .await
        .unwrap();
    assert!(
        report.is_sound(),
        "{:#?} in {happenings:?}",
        report.findings
    );
    assert_eq!(
        count(&pool, "SELECT count(*) FROM files WHERE state <> 'deleted'").await,
        0
    );
    for user in &history.users {
        assert_eq!(total(&pool, chart::escrow(*user)).await, 0);
        assert_eq!(total(&pool, chart::upload_hold(*user)).await, 0);
    }
    // Users paid for what they used, rounded up once a file, and for nothing else.
    let charged = "SELECT coalesce(sum(amount_microcredits), 0)::bigint
         FROM entries JOIN transfers USING (transfer_id)
         WHERE account IN ('income', 'rounding') AND kind <> 'earn'";
    // What the trial has paid of it left the income before, and nothing else did.
    let lent = "SELECT sum(trial_used_microcredits)::bigint FROM users";
    let charged = count(&pool, charged).await + count(&pool, lent).await;
    assert_eq!(charged, exact_use(&pool).await, "{happenings:?}");
    // Nodes were credited for every byte and second that a file was stored, and for none besides.
    let stored = "SELECT trim_scale(coalesce(sum((cause->>'size_bytes')::numeric * 3 * 1000
         * extract(epoch FROM (cause->>'until')::timestamptz - (cause->>'since')::timestamptz)), 0))::text
         FROM transfers WHERE kind IN ('delete', 'expire')";
    let held = "SELECT trim_scale(coalesce(sum(byte_ms), 0))::text FROM node_days";
    let stored: String = sqlx::query_scalar(stored).fetch_one(&pool).await.unwrap();
    let held: String = sqlx::query_scalar(held).fetch_one(&pool).await.unwrap();
    assert_eq!(stored, held, "{happenings:?}");
    let paid = "SELECT coalesce(sum(earned), 0)::bigint FROM node_days";
    let paid = count(&pool, paid).await;
    assert!(charged >= paid, "{charged} < {paid} in {happenings:?}");
    // No day is missing, none is there twice.
    let gaps = "SELECT count(*) FROM settlement_days a JOIN settlement_days b
         ON b.day_number = a.day_number + 1 WHERE a.ends_at <> b.starts_at";
    assert_eq!(count(&pool, gaps).await, 0);
}
