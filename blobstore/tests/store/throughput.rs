//! Not a test of behaviour: run it by hand to see what the disk gives.
//! `cargo nextest run -p fsn-blobstore --run-ignored only throughput --no-capture`

use std::fs::{self, File};
use std::io::Write;
use std::time::Instant;

use super::*;

const BLOBS: u64 = 2000;
const LENGTH: usize = 262_172;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn stores_per_second_beside_the_bare_disk() {
    let both = [LayoutKind::Segments, LayoutKind::Files];
    for (layout, writers) in both.into_iter().flat_map(|l| [1, 8, 16].map(|w| (l, w))) {
        let dir = tempfile::tempdir().unwrap();
        let store = open(layout, dir.path());
        let blobs: Vec<_> = (0..64).map(|seed| blob(seed, LENGTH)).collect();
        let begin = Instant::now();
        let tasks: Vec<_> = (0..writers)
            .map(|writer| {
                let store = store.clone();
                let blobs = blobs.clone();
                tokio::spawn(async move {
                    for n in (writer..BLOBS).step_by(writers as usize) {
                        // Another blob each time at the price of one copy, as from a socket.
                        let mut data = blobs[n as usize % blobs.len()].1.to_vec();
                        data[..8].copy_from_slice(&n.to_le_bytes());
                        let id = BlobId::of(&data);
                        store.put(id, locator(0), data.into()).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let took = begin.elapsed();
        let (stored, batches) = store.flushes();
        let rate = BLOBS as f64 / took.as_secs_f64();
        println!(
            "{layout}, {writers:2} writers: {rate:6.0} blobs/s, {stored} blobs in {batches} batches"
        );
        store.close().await;
    }

    let dir = tempfile::tempdir().unwrap();
    let data = vec![7; LENGTH];
    let begin = Instant::now();
    for n in 0..BLOBS {
        let temp = dir.path().join("temp");
        let mut file = File::create(&temp).unwrap();
        file.write_all(&data).unwrap();
        file.sync_all().unwrap();
        fs::rename(&temp, dir.path().join(n.to_string())).unwrap();
        File::open(dir.path()).unwrap().sync_all().unwrap();
    }
    let rate = BLOBS as f64 / begin.elapsed().as_secs_f64();
    println!("write, fsync, rename, fsync directory, one by one: {rate:6.0} blobs/s");
}
