//! Restore mode: after a restore of the database, what repair, drains and trims have moved since the backup
//! is found again on the nodes.
//!
//! An administrator begins it, for all coordinators of the database. While it stands nothing is taken away
//! from anybody: nodes are not told to forget, nobody is audited, demoted, charged or paid, nothing is
//! repaired or compared. Files go up and down meanwhile.
//!
//! 1. Each node that is there is gone through, blob by blob, trash included (`scan`). A blob that a row
//!    names comes back from the trash. A blob whose locator names a stored chunk in the content that it has
//!    is read, opened, signed for by its node, and gets its row (`candidate`). What the database does not
//!    know is left where it is. Rows without a blob are remembered.
//! 2. When every node has been gone through, or an administrator does not wait for the others, what was
//!    found is settled chunk by chunk (`finish`): rows without a blob go, and nobody is to blame. Nodes that
//!    were not waited for stay out until it is begun again.
//! 3. Then everything goes on; repair looks through all nodes at once, and makes up for what is missing and
//!    takes away what is too much.
//!
//! All of it is state of the database: coordinators share the nodes, and a crash costs a page. Rejected: to
//! have reconciling put the rows back all the time. It would let any node add rows whenever it likes, and a
//! deleted file's blobs are best told from a lost row's by a person who knows that there was a restore.

mod candidate;
pub mod finish;
mod scan;

use std::time::Duration;

use anyhow::ensure;
use futures::future::join_all;
use jiff::Timestamp;
use proto::{Locator, NodeId};
use sqlx::PgConnection;

use crate::database::Pool;
use uuid::Uuid;

use self::finish::Settled;
use crate::durability::{Durability, tables};
use crate::fleet;
use crate::keys::rotation;
use limits::memory::MemoryBudget;

use crate::durability::tables::restore::RestoreMode;
use crate::durability::tables::restore::nodes::Lease;
use model::ids::uuid_v7;
use sealing::{Located, MasterKey};

/// Nodes that are gone through at one time.
const AT_ONE_TIME: usize = 4;

/// Memory for the blobs that are looked at.
const MEMORY: u64 = 48 * 1024 * 1024;

/// A node that a dead coordinator was at waits for so long.
const LEASE: Duration = Duration::from_secs(60);

/// What coordinators that run had begun before they noticed: a node that is told to forget has waited for its turn,
/// and answers or has timed out.
const SETTLES: Duration = Duration::from_secs(60);

/// What nodes are gone through with.
struct Means<'a> {
    durability: &'a Durability,
    /// A rotation since the backup is forgotten, too; the blobs that were stored after it are not.
    unnamed_masters: Vec<MasterKey>,
    memory: MemoryBudget,
}

impl Means<'_> {
    /// Where a blob belongs, whichever key its locator was sealed under.
    fn open_locator(&self, locator: &Locator) -> Option<Located> {
        let mut unnamed = self.unnamed_masters.iter();
        let named = self.durability.blobs.keys.open_locator(locator);
        named.or_else(|| unnamed.find_map(|master| master.open_locator(locator).ok()))
    }
}

/// Whether restore mode stands: nothing may be taken away from anybody then.
pub async fn stands(pool: &Pool) -> sqlx::Result<bool> {
    let mut connection = pool.acquire().await?;
    fleet::tables::awaiting_restore::stands(&mut connection).await
}

/// Begins it. `false` when it stands already.
pub async fn begin(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    let running = rotation::running(connection).await?;
    let settles = if running.is_empty() {
        Duration::ZERO
    } else {
        SETTLES
    };
    let begun = tables::restore::begin(connection, id, settles).await?;
    if begun {
        // As they stand in the backup, they would keep out every node that has been restarted often since.
        fleet::tables::nodes::forget_instances(connection).await?;
    }
    Ok(begun)
}

/// The next piece of work. `true` when more may be due already.
pub async fn step(durability: &Durability) -> anyhow::Result<bool> {
    let restore_mode = {
        let mut connection = durability.db.acquire().await?;
        tables::restore::standing(&mut connection).await?
    };
    durability
        .metrics
        .restore_mode
        .set(i64::from(restore_mode.is_some()));
    let Some(restore_mode) = restore_mode.filter(|restore_mode| !restore_mode.is_settling) else {
        return Ok(false);
    };
    if restore_mode.is_finishing {
        return finish_some(durability).await;
    }
    let taken = scan_nodes(durability, restore_mode).await?;
    if taken == AT_ONE_TIME {
        return Ok(true);
    }
    finish::begin_when_complete(&durability.db).await
}

async fn finish_some(durability: &Durability) -> anyhow::Result<bool> {
    let settled = finish::settle_some(&durability.db, durability.clock.now()).await?;
    if settled == Settled::Ended {
        durability.metrics.restore_mode.set(0);
        durability.repair.scan_wake.wake();
        durability.blobs.purge_wake.wake();
    }
    Ok(settled == Settled::Some)
}

/// Goes through nodes that are here; how many.
async fn scan_nodes(durability: &Durability, restore_mode: RestoreMode) -> anyhow::Result<usize> {
    let online: Vec<NodeId> = durability
        .blobs
        .fleet
        .online()
        .iter()
        .map(|m| m.node_id)
        .collect();
    if online.is_empty() {
        return Ok(0);
    }
    let lease = uuid_v7(durability.clock.now(), &mut durability.entropy.rng());
    let due = {
        let mut connection = durability.db.acquire().await?;
        let (connection, id) = (&mut *connection, restore_mode.id);
        tables::restore::nodes::enter(connection, id, &online).await?;
        tables::restore::nodes::take_due(connection, id, &online, lease, LEASE, AT_ONE_TIME).await?
    };
    let means = Means {
        durability,
        unnamed_masters: durability.blobs.keys.unnamed_masters()?,
        memory: MemoryBudget::new(MEMORY),
    };
    let runs = due.iter().map(|due| {
        let lease = Lease {
            restore_mode: restore_mode.id,
            node: due.node_id,
            id: lease,
        };
        scan::run(&means, *due, lease)
    });
    for written in join_all(runs).await {
        written?;
    }
    Ok(due.len())
}

/// Ends it now, from the command line: coordinators may run or not.
pub async fn finish(
    pool: &Pool,
    without_missing_nodes: bool,
    now: Timestamp,
) -> anyhow::Result<()> {
    {
        let mut transaction = pool.begin().await?;
        let restore_mode = tables::restore::lock(&mut transaction).await?;
        let Some(restore_mode) = restore_mode else {
            return Ok(());
        };
        if !restore_mode.is_finishing {
            let awaited =
                tables::restore::nodes::awaited(&mut transaction, restore_mode.id).await?;
            let names: Vec<&str> = awaited.iter().take(10).map(|(_, name)| &name[..]).collect();
            ensure!(
                awaited.is_empty() || without_missing_nodes,
                "not every node has been gone through: {} left, among them {}. Bring them back and start a \
                 coordinator, which finishes by itself; or, when they will not come back, give \
                 --without-missing-nodes: what they hold is then replaced from the other nodes, and one that \
                 comes back all the same is kept out until restore mode is begun again",
                awaited.len(),
                names.join(", "),
            );
            tables::restore::begin_finishing(&mut transaction, restore_mode.id).await?;
        }
        transaction.commit().await?;
    }
    while finish::settle_some(pool, now).await? == Settled::Some {}
    Ok(())
}
