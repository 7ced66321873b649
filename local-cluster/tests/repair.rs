//! What a lost node held is copied to the others, and taken back when it returns.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::ffi::OsString;

use local_cluster::Member;
use local_cluster::wait::wait_for;
use support::{CHUNK, FILES, LONG, all_blob_files, blob_files, cluster, random_bytes};

const CHUNKS: usize = 12;

/// No grace: a node that is offline is replaced at once.
const REPAIR: &str = "[coordinator.repair]\ngrace = \"0s\"\ninterval = \"1s\"\n";

#[tokio::test]
#[ignore = "passed once in three runs; why the count of copies is not reached in the others is not known yet"]
async fn what_a_killed_node_held_is_copied_to_the_others_and_what_is_too_much_goes_when_it_returns()
{
    let mut cluster = cluster(5, &format!("{REPAIR}{FILES}")).await;
    let user = cluster.session().await.unwrap();
    let content = random_bytes((CHUNKS - 1) * CHUNK + 5);
    let file = user.upload_in_steps("f", &content).await.unwrap();
    assert_eq!(all_blob_files(&cluster).len(), 3 * CHUNKS);
    let lost = (1..=5)
        .max_by_key(|node| blob_files(&cluster, *node).len())
        .unwrap();
    cluster.kill(Member::Node(lost)).await.unwrap();

    let others = || -> usize {
        let others = (1..=5).filter(|node| *node != lost);
        others.map(|node| blob_files(&cluster, node).len()).sum()
    };
    // A coordinator that has just begun to look gives a node a minute to come (back).
    wait_for(
        "three copies of every chunk on other nodes",
        LONG * 3,
        async || (others() == 3 * CHUNKS).then_some(()),
    )
    .await
    .unwrap();
    assert!(user.download(&file.file_id).await.unwrap() == content);

    cluster.start(Member::Node(lost)).await.unwrap();
    cluster.until_online().await.unwrap();
    wait_for("what is too much to go", LONG, async || {
        (all_blob_files(&cluster).len() == 3 * CHUNKS).then_some(())
    })
    .await
    .unwrap();
    assert!(user.download(&file.file_id).await.unwrap() == content);
    let names = all_blob_files(&cluster);
    let names: BTreeSet<OsString> = names
        .iter()
        .filter_map(|path| path.file_name())
        .map(Into::into)
        .collect();
    assert_eq!(names.len(), 3 * CHUNKS);
}
