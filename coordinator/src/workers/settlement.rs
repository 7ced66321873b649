//! Charges files and settles days, one small transaction after the other.

use super::Step;
use crate::app::{App, settlement, storage_charges};

/// Files whose renewal is due, or whose time is up.
pub(super) async fn charge_files(app: &App) -> anyhow::Result<Step> {
    let renewed = storage_charges::renew_one(app).await?;
    let expired = storage_charges::expire_one(app).await?;
    Ok(if renewed || expired {
        Step::More
    } else {
        Step::Idle
    })
}

/// Whatever is to be done next about days that are over.
pub(super) async fn settle_days(app: &App) -> anyhow::Result<Step> {
    let worked = settlement::settle_one_node(app).await?
        || settlement::charge_one_user(app).await?
        || settlement::count_day(app).await?
        || settlement::cut_day(app).await?;
    Ok(if worked { Step::More } else { Step::Idle })
}

/// Payouts that the provider has not been told of.
pub(super) async fn pay_out(app: &App) -> anyhow::Result<Step> {
    let told = crate::app::payouts::tell_one(app).await?;
    Ok(if told { Step::More } else { Step::Idle })
}
