//! Settles days, pays out and seals the ledger, one small transaction after the other.

use crate::bookkeeping::tables::days;
use std::sync::Arc;

use kit::{Job, Step};

use crate::billing::{Billing, disputes, payouts, purchases, settlement, tables};
use crate::fleet::Nodes;

/// Transfers in one block.
const BLOCK_LIMIT: i64 = 10_000;

/// Appends a block with the transfers that were committed since the last one.
pub struct SealLedger(pub Arc<Billing>);

impl Job for SealLedger {
    const NAME: &'static str = "ledger-sealer";

    async fn step(&self) -> anyhow::Result<Step> {
        let mut transaction = self.0.db.begin().await?;
        let sealed = ledger::seal_block(&mut transaction, BLOCK_LIMIT).await?;
        transaction.commit().await?;
        let Some(sealed) = sealed else {
            return Ok(Step::Idle);
        };
        self.0.metrics.blocks_sealed.inc();
        tracing::debug!(
            block = sealed.block_number,
            transfers = sealed.transfers,
            "sealed a block"
        );
        Ok(Step::more_if(sealed.transfers as i64 == BLOCK_LIMIT))
    }
}

/// Does whatever is to be done next about days that are over.
pub struct SettleDays(pub Arc<Billing>);

impl Job for SettleDays {
    const NAME: &'static str = "settlement";

    async fn step(&self) -> anyhow::Result<Step> {
        let billing = &self.0;
        let worked = settlement::settle_one_node(billing).await?
            || settlement::charge_one_user(billing).await?
            || settlement::count_day(billing).await?
            || settlement::cut_day(billing).await?;
        Ok(Step::more_if(worked))
    }
}

/// Asks the provider for payouts that it has not confirmed.
pub struct PayOut(pub Arc<Billing>);

impl Job for PayOut {
    const NAME: &'static str = "payouts";

    async fn step(&self) -> anyhow::Result<Step> {
        Ok(Step::more_if(payouts::ask_one(&self.0).await?))
    }
}

/// Looks at purchases that have not settled: of those whose webhook got lost, or whose coordinator died.
pub struct SettlePurchases(pub Arc<Billing>);

impl Job for SettlePurchases {
    const NAME: &'static str = "purchases";

    async fn step(&self) -> anyhow::Result<Step> {
        Ok(Step::more_if(purchases::look_at_one(&self.0).await?))
    }
}

/// Looks at payments that were called back, as long as it is argued about them.
pub struct SettleDisputes(pub Arc<Billing>);

impl Job for SettleDisputes {
    const NAME: &'static str = "disputes";

    async fn step(&self) -> anyhow::Result<Step> {
        Ok(Step::more_if(disputes::look_at_one(&self.0).await?))
    }
}

/// Asks for disputes of which no webhook has come.
pub struct LookForDisputes(pub Arc<Billing>);

impl Job for LookForDisputes {
    const NAME: &'static str = "dispute-search";

    async fn step(&self) -> anyhow::Result<Step> {
        disputes::look_for_unknown(&self.0).await?;
        Ok(Step::Idle)
    }
}

/// Forgets how often who bought before today.
pub struct CleanUp(pub Arc<Billing>);

/// Rows that one step touches.
const CLEAN_UP_BATCH: i64 = 1000;

impl Job for CleanUp {
    const NAME: &'static str = "purchase-clean-up";

    async fn step(&self) -> anyhow::Result<Step> {
        let mut connection = self.0.db.acquire().await?;
        let old = tables::purchases::delete_old(&mut connection, CLEAN_UP_BATCH).await?;
        Ok(Step::more_if(old as i64 == CLEAN_UP_BATCH))
    }
}

/// Hands the ledger's head of the last day to the nodes, which keep it.
pub struct HandOutHead {
    pub billing: Arc<Billing>,
    pub nodes: Arc<Nodes>,
}

impl Job for HandOutHead {
    const NAME: &'static str = "ledger-head";

    async fn step(&self) -> anyhow::Result<Step> {
        let mut connection = self.billing.db.acquire().await?;
        let head = days::last_head(&mut connection).await?;
        let before = self.nodes.ledger_day.load_full();
        if let (Some(before), Some(head)) = (before, &head)
            && before.contradicts(head)
        {
            self.billing.metrics.ledger_contradictions.inc();
            tracing::error!(
                before = before.day,
                before_block = before.block_number,
                day = head.day,
                block = head.block_number,
                "the ledger's head contradicts the one that was handed out before: it was rewritten, or the \
                 database was restored. coordinator ledger verify --heads FILE, with the ledger-days.json of a \
                 node"
            );
        }
        self.nodes.ledger_day.store(head.map(Arc::new));
        Ok(Step::Idle)
    }
}
