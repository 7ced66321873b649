//! `storage-node drain`: the node leaves the network in order.
//!
//! The state of a drain is the coordinator's, so this command may be interrupted and run again at any
//! time, on a node that runs or is down; only moving the blobs needs the node.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use api::drain::{DrainPlan, DrainView};
use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};
use kit::output::{counted, plain_table, print_table};

use super::{Output, SettingsArgs, block_on, print_json};
use crate::membership::{ApiError, CoordinatorApi, DRAINED, DRAINING};
use crate::volume::{Credentials, Volume};

const LOOK_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only show what it would mean; exits with 1 when the network has no room
    #[arg(long, conflicts_with_all = ["yes", "wait", "cancel"])]
    dry_run: bool,
    /// Do not ask before it begins
    #[arg(long, short)]
    yes: bool,
    /// Wait until the node has drained, with progress; exits with 1 when it ends otherwise
    #[arg(long)]
    wait: bool,
    /// Call a drain off that is under way: the node goes on with what it still has
    #[arg(long, conflicts_with = "yes")]
    cancel: bool,
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) fn run(settings: &SettingsArgs, args: &Args) -> Result<ExitCode> {
    let config = settings.load()?;
    let volume = Volume::at(config.data_dir()?);
    volume.open(config.store.layout)?;
    let own = volume.credentials()?;
    let api = CoordinatorApi::of(&config, &own)?;
    block_on(async {
        if args.dry_run {
            return dry_run(&api, &own, args.output).await;
        }
        if args.cancel {
            show(&api.cancel_drain(&own).await?, args.output)?;
            return Ok(ExitCode::SUCCESS);
        }
        let known = api.drain_progress(&own).await?;
        let known = known.filter(|known| [DRAINING, DRAINED].contains(&known.state.as_str()));
        let progress = match known {
            Some(known) => known,
            None => begin(&api, &own, args).await?,
        };
        let progress = match args.wait {
            true => wait(&api, &own, progress).await?,
            false => progress,
        };
        show(&progress, args.output)?;
        let failed = args.wait && progress.state != DRAINED;
        Ok(ExitCode::from(u8::from(failed)))
    })
}

async fn dry_run(api: &CoordinatorApi, own: &Credentials, output: Output) -> Result<ExitCode> {
    let plan = api.drain_plan(own).await?;
    match output {
        Output::Json => print_json(&plan)?,
        Output::Table => print_plan(&plan),
    }
    Ok(ExitCode::from(u8::from(!plan.possible)))
}

/// Asks the operator first, unless he has said yes.
async fn begin(api: &CoordinatorApi, own: &Credentials, args: &Args) -> Result<DrainView> {
    if !args.yes {
        if !io::stdin().is_terminal() {
            bail!(
                "draining takes the node out of the network for good: look with `storage-node drain \
                 --dry-run`, then say `storage-node drain --yes`"
            );
        }
        print_plan(&api.drain_plan(own).await?);
        print!("\nDrain this node, for good? [y/N] ");
        io::stdout().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !answer.trim().eq_ignore_ascii_case("y") {
            bail!("nothing was changed");
        }
    }
    api.drain(own).await
}

/// Until it has ended. A coordinator that is away for a while is asked again.
async fn wait(
    api: &CoordinatorApi,
    own: &Credentials,
    mut progress: DrainView,
) -> Result<DrainView> {
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(progress.bytes).with_style(style);
    while progress.state == DRAINING {
        bar.set_position(progress.bytes.saturating_sub(progress.bytes_left));
        bar.set_message(match progress.estimated_seconds {
            Some(seconds) => format!("about {} left", duration(seconds)),
            None => String::new(),
        });
        tokio::time::sleep(LOOK_EVERY).await;
        progress = match api.drain_progress(own).await {
            Ok(Some(now)) => now,
            Ok(None) => bail!("the coordinator does not know of a drain of this node any more"),
            Err(error) => match error.downcast_ref::<ApiError>() {
                Some(passing) if passing.may_pass() => {
                    bar.set_message(format!("{passing}; asking again"));
                    continue;
                }
                _ => return Err(error),
            },
        };
    }
    bar.finish_and_clear();
    Ok(progress)
}

fn show(progress: &DrainView, output: Output) -> Result<()> {
    match output {
        Output::Json => print_json(progress),
        Output::Table => {
            print_progress(progress);
            Ok(())
        }
    }
}

fn print_plan(plan: &DrainPlan) {
    let mut table = plain_table();
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row(
        "to move",
        format!("{}, {}", counted(plan.blobs, "blob"), ByteSize(plan.bytes)),
    );
    let (nodes, free) = (plan.eligible_nodes, ByteSize(plan.free_bytes));
    row(
        "room",
        format!("{free} on {}", counted(nodes as u64, "other node")),
    );
    let time = plan.estimated_seconds;
    let time = time.map_or("not known yet".to_owned(), |seconds| {
        format!("about {}", duration(seconds))
    });
    row("time", time);
    let (back, lost) = (plan.returned_microcredits, plan.forfeited_microcredits);
    row("comes back", format!("{back} credits held back"));
    row("forfeited", format!("{lost} credits"));
    print_table(table);
    match &plan.obstacle {
        Some(obstacle) => println!("\nNot possible now: {obstacle}."),
        None => println!(
            "\nThe node goes on serving and earning until it is empty, and is then out for good. A \
             node that just stops forfeits what is held back."
        ),
    }
}

fn print_progress(progress: &DrainView) {
    let mut table = plain_table();
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("state", progress.state.clone());
    let began = format!("{:.0}", progress.started_at);
    match progress.ended_at {
        None => row("draining since", began),
        Some(ended_at) => {
            row("began", began);
            row("ended", format!("{ended_at:.0}"));
        }
    }
    row("moved", moved(progress));
    row("earned", progress.earned_microcredits.to_string());
    row("paid out", progress.paid_out_microcredits.to_string());
    row("available", progress.available_microcredits.to_string());
    row("held back", progress.held_microcredits.to_string());
    print_table(table);
    match progress.state.as_str() {
        DRAINING => println!(
            "\nKeep the node running until it has drained: storage-node drain --wait. To call it \
             off: storage-node drain --cancel."
        ),
        DRAINED => println!(
            "\nThe node may be stopped for good. What is held back becomes available with the next \
             settlement; have it paid out before you throw identity.key and credentials.json away."
        ),
        _ => {}
    }
}

/// In one line.
pub(super) fn moved(progress: &DrainView) -> String {
    let blobs = progress.blobs.saturating_sub(progress.blobs_left);
    let bytes = progress.bytes.saturating_sub(progress.bytes_left);
    let left = progress.estimated_seconds.map_or(String::new(), |seconds| {
        format!(", about {} left", duration(seconds))
    });
    format!(
        "{blobs} of {}, {} of {}{left}",
        counted(progress.blobs, "blob"),
        ByteSize(bytes),
        ByteSize(progress.bytes)
    )
}

fn duration(seconds: u64) -> String {
    kit::output::duration(Duration::from_secs(seconds))
}
