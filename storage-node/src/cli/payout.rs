//! `storage-node payout`: has what the node has earned paid to its operator.
//!
//! The request has a key of its own, and is sent again under it when no answer comes: an answer that gets lost pays nothing
//! twice. Whom it is paid to, the operator has said with his account (`PUT /api/v1/payout-destination`), not here.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use api::earnings::PayoutView;
use kit::output::{align_right, print_table, ruled_table};
use kit::{Clock, Entropy};
use proto::MicroCredits;

use super::{Output, SettingsArgs, block_on, print_json};
use crate::membership::{ApiError, CoordinatorApi};
use crate::volume::{Credentials, Volume};

/// Pauses before a request without an answer is sent again.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(9),
];

/// Payouts that are listed.
const LISTED: u16 = 30;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// So many credits, like 12.5; all that is available when left out
    #[arg(long, value_name = "CREDITS")]
    amount: Option<MicroCredits>,
    /// The key of an earlier payout: says how that one stands, and pays nothing more
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Only show what was paid out so far
    #[arg(long, conflicts_with_all = ["amount", "key"])]
    list: bool,
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) fn run(settings: &SettingsArgs, args: &Args) -> Result<ExitCode> {
    let config = settings.load()?;
    let volume = Volume::at(config.data_dir()?);
    volume.open(config.store.layout)?;
    let own = volume.credentials()?;
    let api = CoordinatorApi::of(&config, &own)?;
    if args.amount.is_some_and(|amount| !amount.is_positive()) {
        bail!("--amount is more than 0");
    }
    block_on(async {
        if args.list {
            let payouts = api.payouts(&own, LISTED).await?.items;
            match args.output {
                Output::Json => print_json(&payouts)?,
                Output::Table => print_payouts(&payouts),
            }
            return Ok(ExitCode::SUCCESS);
        }
        let own_key = || Entropy::system().uuid_v7(Clock::system().now()).to_string();
        let key = args.key.clone().unwrap_or_else(own_key);
        let payout = pay_out(&api, &own, args.amount, &key).await?;
        match args.output {
            Output::Json => print_json(&payout)?,
            Output::Table => print_payout(&payout, &key),
        }
        Ok(ExitCode::from(u8::from(payout.state == "refused")))
    })
}

async fn pay_out(
    api: &CoordinatorApi,
    own: &Credentials,
    amount: Option<MicroCredits>,
    key: &str,
) -> Result<PayoutView> {
    for pause in PAUSES {
        let error = match api.pay_out(own, amount, key).await {
            Ok(payout) => return Ok(payout),
            Err(error) => error,
        };
        if !matches!(
            error.downcast_ref::<ApiError>(),
            Some(ApiError::Unreachable { .. })
        ) {
            return Err(error);
        }
        eprintln!("{error:#}; trying again in {} s", pause.as_secs());
        tokio::time::sleep(pause).await;
    }
    let last = api.pay_out(own, amount, key).await;
    last.map_err(|error| {
        error.context(format!(
            "whether it was taken is not known: `storage-node payout --key {key}` asks for the same payout again"
        ))
    })
}

fn print_payout(payout: &PayoutView, key: &str) {
    let amount = payout.amount_microcredits;
    match payout.state.as_str() {
        "paid" if payout.provider == "mock" => {
            println!(
                "{amount} credits are paid out, with pretended money: the network's provider is a mock."
            );
        }
        "paid" => println!("{amount} credits are paid out."),
        "refused" => {
            let reason = payout.reason.as_deref().unwrap_or("it does not say why");
            println!("{amount} credits were not paid out, and are available again: {reason}");
        }
        _ => {
            println!(
                "{amount} credits are on their way: the provider has yet to confirm it. How it stands: storage-node \
                 payout --key {key}"
            );
        }
    }
}

fn print_payouts(payouts: &[PayoutView]) {
    let mut table = ruled_table(["asked for", "credits", "state", "why"]);
    align_right(&mut table, 1..2);
    for payout in payouts {
        let at = payout.created_at.map(|at| format!("{at:.0}"));
        table.add_row([
            at.unwrap_or_default(),
            payout.amount_microcredits.to_string(),
            payout.state.clone(),
            payout.reason.clone().unwrap_or_default(),
        ]);
    }
    print_table(table);
}
