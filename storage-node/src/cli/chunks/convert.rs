//! `storage-node chunks convert`
//!
//! `volume.json` names both layouts from the first blob to the last, so that no node starts in between
//! and a second run knows what the first one was about.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use blobstore::{
    Catalogue, Converted, LayoutKind, Recovery, SegmentOptions, catalogue_path, convert,
    open_layout,
};
use kit::Clock;

use super::progress;
use crate::volume::{Marker, Volume};

pub(super) fn run(volume: &Volume, to: LayoutKind) -> Result<ExitCode> {
    let _lock = volume.lock()?;
    let (_, marker) = volume.identify()?;
    if let Some(under_way) = marker.converting_to {
        ensure!(
            under_way == to,
            "a conversion to \"{under_way}\" was interrupted: finish it with \
             `storage-node chunks convert --to {under_way}`"
        );
    } else if marker.layout == to {
        println!("The layout is \"{to}\" already.");
        return Ok(ExitCode::SUCCESS);
    }
    let done = move_all(volume, &marker, to)?;
    println!("{} blobs are in the layout \"{to}\" now.", done.moved);
    if done.lost > 0 {
        println!("{} blobs had rotted or were gone.", done.lost);
    }
    println!("If your settings say store.layout, change that too.");
    Ok(ExitCode::SUCCESS)
}

fn move_all(volume: &Volume, marker: &Marker, to: LayoutKind) -> Result<Converted> {
    let root = volume.root();
    let path = catalogue_path(root);
    let mut catalogue = Catalogue::open(&path).with_context(|| path.display().to_string())?;
    let open = |kind| {
        open_layout(kind, root, SegmentOptions::default())
            .with_context(|| format!("the blobs in {} cannot be opened", root.display()))
    };
    let (old, new) = (open(marker.layout)?, open(to)?);
    if marker.converting_to.is_none() {
        let how = match catalogue.was_closed()? {
            true => Recovery::Closed,
            false => Recovery::Crashed,
        };
        old.recover(&mut catalogue, how, Clock::system().now(), &mut || {})?;
        volume.save_marker(&Marker {
            converting_to: Some(to),
            ..marker.clone()
        })?;
    } else if let Some(segments) = [&old, &new]
        .into_iter()
        .find(|layout| layout.kind() == LayoutKind::Segments)
    {
        segments.recover(
            &mut catalogue,
            Recovery::Crashed,
            Clock::system().now(),
            &mut || {},
        )?;
    }
    catalogue.mark_open()?;
    let bytes = catalogue.counts()?.on_disk().bytes;
    let bar = progress(bytes, "{bar:40} {bytes}/{total_bytes} {bytes_per_sec}");
    let step = |bytes| bar.inc(bytes);
    let done = convert(&*old, &*new, &mut catalogue, Clock::system().now(), step)
        .context("the conversion has stopped; run it again to go on where it was")?;
    bar.finish_and_clear();
    remove_old(root, marker.layout)?;
    if marker.layout == LayoutKind::Segments {
        let numbers = catalogue.segments()?;
        catalogue.write(|tx| {
            numbers
                .iter()
                .try_for_each(|segment| tx.forget_segment(segment.number))
        })?;
    }
    catalogue.close()?;
    volume.save_marker(&Marker {
        layout: to,
        converting_to: None,
        ..marker.clone()
    })?;
    Ok(done)
}

/// Nothing that belongs to a blob is in there any more.
fn remove_old(root: &Path, layout: LayoutKind) -> Result<()> {
    let dirs: &[&str] = match layout {
        LayoutKind::Segments => &["segments"],
        LayoutKind::Files => &["blobs", "trash", "tmp"],
    };
    for dir in dirs {
        let path = root.join(dir);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    fs::File::open(root)?.sync_all()?;
    Ok(())
}
