//! Settling days: a day is cut off, counted, then settled user by user and node by node. Each step is a
//! transaction of its own that leaves nothing half done, finds what is left to do in the tables, and
//! is safe to repeat and to run in several coordinators: rows are locked, transfers have keys.

use crate::bookkeeping::tables::days;
use crate::bookkeeping::{balances, posting};
use ledger::{Movement, Posted};
use proto::{LedgerDay, MicroCredits};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::billing::charges::ChargeError;
use crate::billing::{Billing, tables};
use crate::{database, fleet};

use crate::billing::tables::penalties::SettledPenalty;
use crate::billing::tables::settlement::{SettledDay, UnsettledDay};
use crate::bookkeeping::chart;
use crate::bookkeeping::chart::transfer_kind;
use model::day::Day;
use model::money::{AmountTooLarge, PricePerGbMonth};
use rules::node_pay::{HeldFate, NodeDay, assess, held_share_ppm};
use rules::uptime::{Rule, Stretch};

/// Files of one user that are read at a time.
const METER_PAGE: i64 = 1000;

/// Cuts the next day off if it is over; `false` when there is nothing to cut off yet. From then on
/// nothing that happens is dated before its end, and the ledger's head of the day is signed.
pub async fn cut_day(billing: &Billing) -> Result<bool, ChargeError> {
    let interval = billing.money.settlement_interval;
    let mut transaction = billing.db.begin().await?;
    let (_, end) = days::last_day(&mut transaction).await?;
    let now = database::now(&mut transaction).await?;
    if !Day::after(end, interval).is_over(now, interval) {
        return Ok(false);
    }
    let pay = affordable_pay(billing, &mut transaction).await?;
    if !tables::settlement::lock_days(&mut transaction).await? {
        return Ok(false);
    }
    let (number, end) = days::last_day(&mut transaction).await?;
    let day = Day::after(end, interval);
    // A file ends when its escrow does; that has to be written before its day is closed.
    if !day.is_over(now, interval)
        || tables::settlement::file_ends_by(&mut transaction, day.ends_at).await?
    {
        return Ok(false);
    }
    let head = match ledger::head(&mut transaction).await? {
        Some((block, hash)) => Some(
            LedgerDay::sign(
                &billing.keys.network,
                billing.keys.network_id,
                &day.label,
                block,
                hash,
            )
            .map_err(ChargeError::Signing)?,
        ),
        None => None,
    };
    tables::settlement::insert_day(&mut transaction, number + 1, &day, pay, head.as_ref()).await?;
    transaction.commit().await?;
    tracing::info!(day = day.label, "a day is closed and will be settled");
    Ok(true)
}

/// What nodes earn on a day: as configured, and never more than the cheapest stored file pays. Files keep
/// the price that they were stored at, so that prices which are raised do not concern them.
async fn affordable_pay(
    billing: &Billing,
    connection: &mut PgConnection,
) -> sqlx::Result<PricePerGbMonth> {
    let configured = billing.money.pay_per_gb_month;
    match tables::settlement::lowest_price(connection).await? {
        Some(lowest) if lowest < configured => {
            tracing::warn!(
                configured_microcredits = configured.microcredits(),
                paid_microcredits = lowest.microcredits(),
                "files are stored at a lower price than nodes are to be paid: nodes get that price"
            );
            Ok(lowest)
        }
        _ => Ok(configured),
    }
}

/// Counts one day that was cut off; `false` when there is none.
pub async fn count_day(billing: &Billing) -> sqlx::Result<bool> {
    let mut transaction = billing.db.begin().await?;
    let counted = tables::settlement::count_day(&mut transaction).await?;
    transaction.commit().await?;
    Ok(counted)
}

/// Takes one user's use of one day out of escrow; `false` when nobody is left.
pub async fn charge_one_user(billing: &Billing) -> Result<bool, ChargeError> {
    let mut transaction = billing.db.begin().await?;
    let Some(day) = tables::settlement::lock_user_day(&mut transaction).await? else {
        return Ok(false);
    };
    let (mut sum, mut files, mut after) = (MicroCredits::ZERO, 0u64, None);
    loop {
        let page =
            tables::settlement::meters_of_user(&mut transaction, day.user_id, after, METER_PAGE)
                .await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (_, meter) in page.iter().filter(|(_, meter)| meter.since < day.ends_at) {
            let charge = meter.charge(day.charged_until, day.ends_at)?;
            sum = sum.checked_add(charge).ok_or(AmountTooLarge)?;
            files += 1;
        }
    }
    let charge = Movement {
        kind: transfer_kind::USE,
        key: format!("use:{}:{}", day.user_id, day.day_number),
        cause: &json!({"day": day.label, "files": files}),
        entries: &[(chart::escrow(day.user_id), -sum), (chart::INCOME, sum)],
    };
    posting::post(&mut transaction, &billing.entropy, charge).await?;
    tables::settlement::mark_charged(&mut transaction, &day).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Settles one node for one day; `false` when none is left.
pub async fn settle_one_node(billing: &Billing) -> Result<bool, ChargeError> {
    let mut transaction = billing.db.begin().await?;
    let Some(day) = tables::settlement::lock_node_day(&mut transaction).await? else {
        return Ok(false);
    };
    settle(billing, &mut transaction, &day).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn settle(
    billing: &Billing,
    connection: &mut PgConnection,
    day: &UnsettledDay,
) -> Result<(), ChargeError> {
    let stretch = Stretch::new(day.starts_at.max(day.registered_at), day.ends_at);
    let uptime_ppm =
        fleet::tables::uptime::uptime_ppm(connection, day.node_id, stretch, Rule::CURRENT).await?;
    let balance = balances::lock_node(connection, day.node_id).await?;
    let since = day.earning_since.unwrap_or(day.starts_at);
    let charges = tables::penalties::unsettled(connection, day.node_id, day.ends_at).await?;
    let assessment = assess(&charges, day.pay)?;
    let amounts = |list: &[(Uuid, MicroCredits)]| -> Vec<MicroCredits> {
        list.iter().map(|(_, amount)| *amount).collect()
    };
    let given_back = MicroCredits::checked_sum(amounts(&assessment.given_back));
    let input = NodeDay {
        byte_ms: day.byte_ms,
        pay: day.pay,
        carry: day.carry,
        uptime_ppm,
        held_share_ppm: held_share_ppm(since, day.starts_at),
        fate: HeldFate::of(day.state, day.earning_since, day.starts_at),
        penalties: amounts(&assessment.penalties),
        given_back: given_back.ok_or(AmountTooLarge)?,
        held: balance.held,
        available: balance.available,
    };
    let settlement = input.settle()?;
    let collected = MicroCredits::checked_sum(settlement.collected.iter().copied());
    let mut settled = SettledDay {
        carry_before: day.carry,
        carry_after: settlement.carry,
        uptime_ppm,
        gross: settlement.gross,
        earned: settlement.earned,
        penalties: collected.ok_or(AmountTooLarge)?,
        given_back: input.given_back,
        uncollected: settlement.uncollected,
        held: settlement.held,
        available: settlement.available,
        transfer: None,
    };
    let pay = Movement {
        kind: transfer_kind::EARN,
        key: format!("earn:{}:{}", day.node_id, day.day_number),
        cause: &json!({
            "day": day.label,
            "byte_seconds": (day.byte_ms / 1000).to_string(),
            "pay_microcredits": day.pay.microcredits(),
            "gross_microcredits": settled.gross,
            "uptime_ppm": uptime_ppm,
            "penalties_microcredits": settled.penalties,
            "given_back_microcredits": settled.given_back,
            "held_microcredits": settled.held,
        }),
        entries: &[
            (chart::INCOME, -settlement.earned),
            (chart::PENALTIES, settlement.to_penalties),
            (chart::node_held(day.node_id), settlement.held),
            (chart::node_available(day.node_id), settlement.available),
        ],
    };
    settled.transfer = match posting::post(connection, &billing.entropy, pay).await? {
        Some(Posted::New(id) | Posted::Before(id)) => Some(id),
        None => None,
    };
    tables::settlement::mark_settled(connection, day, &settled).await?;
    let collected = assessment.penalties.into_iter().zip(settlement.collected);
    let penalties = collected.map(|((id, amount), collected)| SettledPenalty {
        id,
        amount,
        collected,
    });
    let given_back = assessment
        .given_back
        .into_iter()
        .map(|(id, amount)| SettledPenalty {
            id,
            amount,
            collected: amount,
        });
    let all: Vec<_> = penalties.chain(given_back).collect();
    tables::penalties::mark_settled(connection, day.node_id, day.day_number, &all).await?;
    Ok(())
}
