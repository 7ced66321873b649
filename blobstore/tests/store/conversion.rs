//! From one layout to the other.

use blobstore::{Read, convert};
use proto::DeletionMode::Trash;

use super::*;

const LENGTH: usize = 20_000;

async fn filled(layout: LayoutKind, dir: &Path) -> (Vec<BlobId>, Vec<Row>) {
    let store = open(layout, dir);
    let mut ids = Vec::new();
    for seed in 0..20 {
        ids.push(put(&store, seed, LENGTH).await);
    }
    store.delete(vec![deletion(ids[3], Trash)]).await;
    store.close().await;
    (ids, rows(dir))
}

/// But for where they are.
fn placeless(rows: Vec<Row>) -> Vec<Row> {
    let placeless = |row| Row {
        disk_bytes: 0,
        location: None,
        ..row
    };
    rows.into_iter().map(placeless).collect()
}

fn other(layout: LayoutKind) -> LayoutKind {
    match layout {
        LayoutKind::Segments => LayoutKind::Files,
        LayoutKind::Files => LayoutKind::Segments,
    }
}

in_both_layouts!(
    a_conversion_keeps_every_blob_its_time_and_the_trash,
    a_conversion_that_was_interrupted_goes_on,
    a_rotten_blob_does_not_stop_a_conversion,
);

async fn a_conversion_keeps_every_blob_its_time_and_the_trash(from: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let (ids, before) = filled(from, dir.path()).await;
    let to = other(from);
    let mut catalogue = Catalogue::open(&catalogue_path(dir.path())).unwrap();
    let layouts = [from, to].map(|kind| open_layout(kind, dir.path(), Default::default()).unwrap());
    let mut told = 0;
    let step = |bytes| told += bytes;
    let done = convert(
        &*layouts[0],
        &*layouts[1],
        &mut catalogue,
        Clock::system().now(),
        step,
    )
    .unwrap();
    assert_eq!((done.moved, done.lost), (20, 0));
    assert_eq!(told, 20 * LENGTH as u64);
    drop((layouts, catalogue));
    assert_eq!(placeless(rows(dir.path())), placeless(before));
    assert_eq!(on_disk(from, dir.path()), Tally::default());
    let store = open(to, dir.path());
    assert_eq!(store.counts().on_disk(), on_disk(to, dir.path()));
    assert_eq!(store.get(ids[0]).await, Read::Found(blob(0, LENGTH).1));
    assert_eq!(store.get(ids[3]).await, Read::Found(blob(3, LENGTH).1));
    store.close().await;
}

async fn a_conversion_that_was_interrupted_goes_on(from: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let (ids, before) = filled(from, dir.path()).await;
    let to = other(from);
    let mut catalogue = Catalogue::open(&catalogue_path(dir.path())).unwrap();
    let layouts = [from, to].map(|kind| open_layout(kind, dir.path(), Default::default()).unwrap());
    // One blob is written in the new layout, and its row is not; the bytes of another are moved whole.
    let moved = |n: usize| blobstore::NewBlob {
        id: ids[n],
        locator: locator(n as u8),
        stored_at_ms: row(dir.path(), &ids[n]).unwrap().stored_at_ms,
        data: blob(n as u64, LENGTH).1,
        trashed_at_ms: None,
        deferred_until_ms: None,
    };
    let location = layouts[1].append(&[moved(1)]).remove(0).unwrap();
    let disk_bytes = layouts[1].disk_bytes(LENGTH as u64);
    let entered = Row::of(&moved(1), disk_bytes, location);
    catalogue.write(|tx| tx.upsert(&entered)).unwrap();
    layouts[1].append(&[moved(0)]).remove(0).unwrap();
    drop(layouts);

    let layouts = [from, to].map(|kind| open_layout(kind, dir.path(), Default::default()).unwrap());
    let segments = layouts
        .iter()
        .find(|layout| layout.kind() == LayoutKind::Segments);
    let how = Recovery::Crashed;
    let recovered =
        segments
            .unwrap()
            .recover(&mut catalogue, how, Clock::system().now(), &mut || {});
    recovered.unwrap();
    convert(
        &*layouts[0],
        &*layouts[1],
        &mut catalogue,
        Clock::system().now(),
        |_| {},
    )
    .unwrap();
    drop((layouts, catalogue));
    assert_eq!(placeless(rows(dir.path())), placeless(before));
    let all = rows(dir.path());
    let in_segments = all.iter().filter(|row| row.location.is_some()).count();
    assert_eq!(in_segments, if to == LayoutKind::Segments { 20 } else { 0 });
    assert_eq!(on_disk(to, dir.path()).blobs, 20);
}

async fn a_rotten_blob_does_not_stop_a_conversion(from: LayoutKind) {
    let dir = tempfile::tempdir().unwrap();
    let (ids, _) = filled(from, dir.path()).await;
    let rotten = OnDisk::of(dir.path(), &ids[7]);
    rotten.flip_bit(rotten.start);
    let mut catalogue = Catalogue::open(&catalogue_path(dir.path())).unwrap();
    let layouts =
        [from, other(from)].map(|kind| open_layout(kind, dir.path(), Default::default()).unwrap());
    let done = convert(
        &*layouts[0],
        &*layouts[1],
        &mut catalogue,
        Clock::system().now(),
        |_| {},
    )
    .unwrap();
    assert_eq!((done.moved, done.lost), (19, 1));
    assert_eq!(row(dir.path(), &ids[7]).unwrap().state, BlobState::Lost);
}
