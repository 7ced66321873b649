//! After the storm, past the API: on every node disk and catalogue agree, and both agree with the
//! database.
//!
//! What the nemesis has spoilt may still lie about as what it is. What a crash of the coordinator or of
//! the database left behind between a store and its commit is an orphan; the coordinator throws it away
//! once it is older than any upload that could still want it.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use blobstore::{
    BlobState, Finding, LayoutKind, Readers, Row, attach_layout, catalogue_path, verify,
};
use proto::BlobId;
use tokio::task::spawn_blocking;

use super::damage;
use super::database::Known;
use super::nemesis::Nemesis;

/// What sealing adds to a chunk: nonce and tag.
const SEAL: u64 = 28;
/// Problems that are told one by one.
const TOLD: usize = 10;

#[derive(Debug, Default)]
pub(super) struct Stores {
    /// Copies that count, found on disk.
    pub copies: u64,
    /// Spoilt or demoted copies that still lie there.
    pub set_aside: u64,
    /// In the trash, or on the way out.
    pub leaving: u64,
    pub orphans: u64,
    pub violations: Vec<String>,
}

pub(super) async fn check(nemesis: &Nemesis) -> Result<Stores> {
    let mut all = Stores::default();
    for node in 1..=nemesis.rig.cluster.node_count() {
        let node_id = nemesis.rig.node_id(node)?;
        // Before and after: what moves meanwhile is neither missed nor an orphan.
        let before = nemesis.database.known(&node_id).await?;
        let (rows, findings) = look(nemesis.rig.cluster.data_dir(node)).await?;
        let after = nemesis.database.known(&node_id).await?;
        let spoilt = |id: &BlobId| nemesis.spoilt.contains(&(node_id.clone(), *id));
        let mut found = compare(&rows, &before, &after, spoilt);
        for finding in findings.iter().filter(|finding| !spoilt(&finding.id)) {
            let Finding { id, problem } = finding;
            found.violations.push(format!("blob {id}: {problem}"));
        }
        all.copies += found.copies;
        all.set_aside += found.set_aside;
        all.leaving += found.leaving;
        all.orphans += found.orphans;
        let violations = found.violations.iter().take(TOLD);
        all.violations
            .extend(violations.map(|what| format!("node-{node}: {what}")));
    }
    Ok(all)
}

/// The catalogue's rows, and what `storage-node chunks verify` finds.
async fn look(data_dir: PathBuf) -> Result<(Vec<Row>, Vec<Finding>)> {
    let looked = spawn_blocking(move || {
        let rows = damage::rows(&data_dir)?;
        let kind = match data_dir.join("segments").exists() {
            true => LayoutKind::Segments,
            false => LayoutKind::Files,
        };
        let readers = Readers::open(&catalogue_path(&data_dir))?;
        let layout = attach_layout(kind, &data_dir);
        let mut findings = Vec::new();
        verify(&*layout, &readers, |finding| findings.push(finding), |_| ())?;
        anyhow::Ok((rows, findings))
    });
    looked.await.context("a look at a node's disk")?
}

fn compare(
    rows: &[Row],
    before: &Known,
    after: &Known,
    spoilt: impl Fn(&BlobId) -> bool,
) -> Stores {
    let mut found = Stores::default();
    let held: HashMap<BlobId, &Row> = rows.iter().map(|row| (row.id, row)).collect();
    for (blob, plaintext) in &after.replicas {
        if !before.replicas.contains_key(blob) {
            continue; // stored meanwhile
        }
        let length = plaintext + SEAL;
        let problem = match held.get(blob) {
            Some(row) if row.state != BlobState::Live => format!("is {:?}", row.state),
            Some(row) if row.length != length => format!("has {} bytes", row.length),
            Some(_) => {
                found.copies += 1;
                continue;
            }
            None => "is not there".to_owned(),
        };
        found.violations.push(format!(
            "a replica of {length} bytes is entered in the database, and blob {blob} {problem}"
        ));
    }
    for row in rows {
        let id = &row.id;
        let wanted = [before, after].map(|known| known.replicas.contains_key(id));
        let unwanted = [before, after].map(|known| known.unwanted.contains_key(id));
        if wanted.contains(&true) {
            continue;
        }
        if spoilt(id) || after.demoted.contains_key(id) {
            found.set_aside += 1;
        } else if row.state == BlobState::Trashed || unwanted.contains(&true) {
            found.leaving += 1;
        } else {
            found.orphans += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proto::Locator;

    use super::*;

    fn row(text: &str, state: BlobState) -> Row {
        Row {
            id: BlobId::of(text.as_bytes()),
            length: 100,
            stored_at_ms: 0,
            locator: Locator::from_bytes([0; Locator::LEN]),
            state,
            state_at_ms: 0,
            disk_bytes: 4096,
            location: None,
            deferred_until_ms: None,
        }
    }

    fn known(replicas: &[&str], plaintext: u64) -> Known {
        let ids = replicas.iter().map(|text| BlobId::of(text.as_bytes()));
        Known {
            replicas: ids.map(|id| (id, plaintext)).collect(),
            ..Known::default()
        }
    }

    #[test]
    fn a_replica_that_is_not_there_or_not_whole_is_told() {
        let rows = [row("a", BlobState::Live), row("b", BlobState::Trashed)];
        let database = known(&["a", "b", "c"], 72);
        let found = compare(&rows, &database, &database, |_| false);
        assert_eq!((found.copies, found.violations.len()), (1, 2));
        let longer = known(&["a"], 73);
        let found = compare(&rows[..1], &longer, &longer, |_| false);
        assert_eq!((found.copies, found.violations.len()), (0, 1));
    }

    #[test]
    fn what_no_row_knows_is_an_orphan_unless_it_is_known_why() {
        let rows = [
            row("orphan", BlobState::Live),
            row("trash", BlobState::Trashed),
            row("purged", BlobState::Live),
            row("demoted", BlobState::Live),
            row("spoilt", BlobState::Corrupt),
        ];
        let mut database = Known::default();
        let id = |text: &str| BlobId::of(text.as_bytes());
        database.unwanted.insert(id("purged"), "purge".to_owned());
        database.demoted.insert(id("demoted"), 72);
        let found = compare(&rows, &database, &database, |blob| *blob == id("spoilt"));
        assert_eq!((found.orphans, found.leaving, found.set_aside), (1, 2, 2));
        assert!(found.violations.is_empty());
    }

    #[test]
    fn what_is_stored_or_deleted_while_it_is_looked_at_is_neither_lost_nor_an_orphan() {
        let rows = [row("old", BlobState::Live)];
        let found = compare(&rows, &known(&["old"], 72), &known(&["new"], 72), |_| false);
        assert_eq!((found.orphans, found.violations.len()), (0, 0));
    }
}
