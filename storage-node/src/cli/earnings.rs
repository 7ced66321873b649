//! `storage-node earnings`: asks the coordinator what the node has earned, and of what.

use std::process::ExitCode;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

use super::{Output, SettingsArgs, block_on, credits, print_json};
use crate::coordinator_api::{CoordinatorApi, Earnings};
use crate::volume::Volume;

#[derive(Debug, clap::Args)]
pub struct Args {
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
        Output::Table => print_table(&earnings),
    }
    Ok(ExitCode::SUCCESS)
}

fn percent(ppm: u32) -> String {
    format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100)
}

fn print_table(earnings: &Earnings) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "day",
        "gross",
        "uptime",
        "penalties",
        "net",
        "held back",
        "available",
    ]);
    for column in 1..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let pending = &earnings.pending;
    let taken = pending.penalties_microcredits - pending.given_back_microcredits;
    table.add_row([
        "so far".to_owned(),
        credits(pending.gross_microcredits),
        percent(pending.uptime_ppm),
        credits(taken),
        format!("({})", credits(pending.earned_microcredits - taken)),
        String::new(),
        String::new(),
    ]);
    for day in &earnings.days {
        table.add_row([
            day.day.clone(),
            credits(day.gross_microcredits),
            percent(day.uptime_ppm),
            credits(day.penalties_microcredits - day.given_back_microcredits),
            credits(day.net_microcredits),
            credits(day.held_microcredits),
            credits(day.available_microcredits),
        ]);
    }
    println!("{table}");
    println!("In credits. Why a day was charged: storage-node earnings --output json");
}
