//! `storage-node earnings`: asks the coordinator what the node has earned, and of what.

use std::process::ExitCode;

use anyhow::Result;
use api::earnings::Earnings;
use kit::output::{align_right, print_table, ruled_table};
use proto::MicroCredits;

use super::{Output, SettingsArgs, block_on, print_json};
use crate::membership::CoordinatorApi;
use crate::volume::Volume;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
    /// How many days, the newest first
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=1000))]
    days: u16,
}

pub(super) fn run(settings: &SettingsArgs, args: &Args) -> Result<ExitCode> {
    let config = settings.load()?;
    let volume = Volume::at(config.data_dir()?);
    volume.open(config.store.layout)?;
    let credentials = volume.credentials()?;
    let api = CoordinatorApi::of(&config, &credentials)?;
    let earnings = block_on(api.earnings(credentials.node_id, &credentials.api_key, args.days))?;
    match args.output {
        Output::Json => print_json(&earnings)?,
        Output::Table => print_earnings(&earnings),
    }
    Ok(ExitCode::SUCCESS)
}

fn percent(ppm: u32) -> String {
    format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100)
}

fn less(amount: MicroCredits, part: MicroCredits) -> MicroCredits {
    MicroCredits::new(amount.get().saturating_sub(part.get()))
}

fn print_earnings(earnings: &Earnings) {
    let mut table = ruled_table([
        "day",
        "gross",
        "uptime",
        "penalties",
        "net",
        "held back",
        "available",
    ]);
    align_right(&mut table, 1..7);
    let pending = &earnings.pending;
    let taken = less(
        pending.penalties_microcredits,
        pending.given_back_microcredits,
    );
    table.add_row([
        "so far".to_owned(),
        pending.gross_microcredits.to_string(),
        percent(pending.uptime_ppm),
        taken.to_string(),
        format!("({})", less(pending.earned_microcredits, taken)),
        String::new(),
        String::new(),
    ]);
    for day in &earnings.days {
        table.add_row([
            day.day.clone(),
            day.gross_microcredits.to_string(),
            percent(day.uptime_ppm),
            less(day.penalties_microcredits, day.given_back_microcredits).to_string(),
            day.net_microcredits.to_string(),
            day.held_microcredits.to_string(),
            day.available_microcredits.to_string(),
        ]);
    }
    print_table(table);
    println!("In credits. Why a day was charged: storage-node earnings --output json");
}
