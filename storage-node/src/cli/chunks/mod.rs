//! `storage-node chunks list | verify | convert`

mod convert;

use std::process::ExitCode;

use anyhow::{Context, Result};
use blobstore::{
    Catalogue, Finding, LayoutKind, Readers, Recovery, SegmentOptions, attach_layout,
    catalogue_path, open_layout, verify,
};
use bytesize::ByteSize;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use kit::output::{plain_table, print_table};
use kit::{Clock, private_file};
use proto::BlobId;
use proto::evidence::OrderItem;

use super::{Output, SettingsArgs, print_json};
use crate::admin::{ChunkPage, ChunkView};
use crate::agent::Orders;
use crate::volume::Volume;

/// Problems that are shown one by one; the rest is counted.
const SHOWN: usize = 1000;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List what the node holds, in the order of the blob ids
    List {
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Where to go on: the cursor that the page before ended with
        #[arg(long)]
        cursor: Option<BlobId>,
    },
    /// Show the order by which a coordinator had a blob deleted, signed: why this node does not have it
    Order {
        blob_id: BlobId,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Read and hash every blob and compare with the catalogue; exits with 1 when something is wrong
    Verify {
        /// Make the catalogue anew from the blobs on disk; the node must be stopped
        #[arg(long)]
        rebuild: bool,
    },
    /// Move all blobs to another layout; the node must be stopped. May be interrupted and run again
    Convert {
        #[arg(long, value_parser = layouts(), value_name = "LAYOUT")]
        to: LayoutKind,
    },
}

fn layouts() -> impl TypedValueParser<Value = LayoutKind> {
    PossibleValuesParser::new(LayoutKind::ALL.map(LayoutKind::name)).try_map(|name| name.parse())
}

pub(super) fn run(settings: &SettingsArgs, command: Command) -> Result<ExitCode> {
    let config = settings.load()?;
    let volume = Volume::at(config.data_dir()?);
    match command {
        Command::Convert { .. } | Command::Verify { rebuild: true } => drop(volume.identify()?),
        _ => drop(volume.open(config.store.layout)?),
    }
    match command {
        Command::Convert { to } => convert::run(&volume, to),
        Command::List {
            output,
            limit,
            cursor,
        } => list(&volume, output, limit, cursor),
        Command::Order { blob_id, output } => show_order(&volume, &blob_id, output),
        Command::Verify { rebuild: true } => {
            self::rebuild(&volume)?;
            volume.open(None)?;
            check(&volume)
        }
        Command::Verify { rebuild: false } => check(&volume),
    }
}

fn list(volume: &Volume, output: Output, limit: u32, cursor: Option<BlobId>) -> Result<ExitCode> {
    let path = catalogue_path(volume.root());
    let rows = match path.exists() {
        true => Readers::open(&path)?.page(cursor.as_ref(), limit.saturating_add(1))?,
        false => Vec::new(), // never started
    };
    let page = ChunkPage::new(rows, limit);
    if output == Output::Json {
        print_json(&page)?;
        return Ok(ExitCode::SUCCESS);
    }
    if page.items.is_empty() {
        println!("The node holds no blobs.");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = plain_table();
    table.set_header(["blob", "size", "state", "stored"]);
    for chunk in &page.items {
        let ChunkView {
            blob_id,
            length,
            state,
            stored_at,
        } = chunk;
        table.add_row([
            blob_id.to_string(),
            ByteSize(*length).to_string(),
            format!("{state:?}").to_lowercase(),
            stored_at.to_string(),
        ]);
    }
    print_table(table);
    if let Some(cursor) = page.next_cursor {
        println!("\nThere are more: storage-node chunks list --cursor {cursor}");
    }
    Ok(ExitCode::SUCCESS)
}

fn show_order(volume: &Volume, blob_id: &BlobId, output: Output) -> Result<ExitCode> {
    let path = volume.orders_path();
    let signed = match path.exists() {
        true => Orders::open(&path)?.find(blob_id)?,
        false => None,
    };
    let Some(signed) = signed else {
        println!("No coordinator has ordered this node to delete {blob_id} in the last 100 days.");
        return Ok(ExitCode::FAILURE);
    };
    let item = OrderItem::from(&signed);
    if output == Output::Json {
        print_json(&item)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = plain_table();
    let at = i64::try_from(item.issued_at_ms).ok();
    let at = at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    table.add_row(["ordered by", &item.coordinator]);
    table.add_row([
        "at",
        &at.map_or(item.issued_at_ms.to_string(), |at| at.to_string()),
    ]);
    table.add_row([
        "blobs in the order",
        &signed.order.deletions().len().to_string(),
    ]);
    table.add_row(["signature", &item.signature]);
    print_table(table);
    Ok(ExitCode::SUCCESS)
}

fn rebuild(volume: &Volume) -> Result<()> {
    let _lock = volume.lock()?;
    let root = volume.root();
    let path = catalogue_path(root);
    let fresh = root.join("catalogue.rebuilt");
    for leftover in with_companions(&fresh) {
        private_file::remove(&leftover)?;
    }
    let (_, marker) = volume.identify()?;
    let mut catalogue = Catalogue::open(&fresh)?;
    // Of a blob that an interrupted conversion has left in both layouts, the new place counts.
    for kind in [Some(marker.layout), marker.converting_to] {
        let Some(kind) = kind else { continue };
        let layout = open_layout(kind, root, SegmentOptions::default())
            .with_context(|| format!("the blobs in {} cannot be opened", root.display()))?;
        let parts = layout.parts()?.len() as u64;
        let bar = progress(parts, "{bar:40} {pos}/{len}");
        let how = Recovery::Rebuild;
        layout.recover(&mut catalogue, how, Clock::system().now(), &mut || {
            bar.inc(1);
        })?;
        bar.finish_and_clear();
    }
    let blobs = catalogue.counts()?.on_disk().blobs;
    catalogue.close()?;
    drop(catalogue);
    // A log that is left of the old catalogue would be read into the new one.
    for old in with_companions(&path) {
        private_file::remove(&old)?;
    }
    std::fs::rename(&fresh, &path).with_context(|| format!("cannot replace {}", path.display()))?;
    std::fs::File::open(root)?.sync_all()?;
    println!("The catalogue was made anew: {blobs} blobs.");
    Ok(())
}

fn with_companions(path: &std::path::Path) -> [std::path::PathBuf; 3] {
    ["", "-wal", "-shm"].map(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    })
}

fn check(volume: &Volume) -> Result<ExitCode> {
    let path = catalogue_path(volume.root());
    let readers = Readers::open(&path).context(
        "the catalogue cannot be opened (`storage-node chunks verify --rebuild` makes it anew)",
    )?;
    let layout = attach_layout(volume.layout()?, volume.root());
    let expected = readers.counts()?.on_disk().bytes;
    let bar = progress(expected, "{bar:40} {bytes}/{total_bytes} {bytes_per_sec}");
    let mut problems = Vec::new();
    let mut count = 0_u64;
    let mut blobs = 0_u64;
    let found = |finding: Finding| {
        count += 1;
        if problems.len() < SHOWN {
            problems.push(finding);
        }
    };
    let read = |bytes| {
        blobs += 1;
        bar.inc(bytes);
    };
    verify(&*layout, &readers, found, read)?;
    bar.finish_and_clear();
    if count == 0 {
        println!("{blobs} blobs read, all are whole.");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = plain_table();
    table.set_header(["blob", "problem"]);
    for finding in &problems {
        table.add_row([finding.id.to_string(), finding.problem.to_string()]);
    }
    print_table(table);
    println!("\n{blobs} blobs read, {count} problems.");
    Ok(ExitCode::FAILURE)
}

/// Drawn on a terminal only.
fn progress(length: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}
