//! Compares names with rows, directory by directory, and reads only the blobs about which the two
//! disagree. A crash can leave a file without a row (it was flushed, not yet acknowledged: it is kept)
//! or a row in the wrong state; it never leaves a live row without a file.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proto::BlobId;

use super::FilesLayout;
use crate::blob::{Area, BlobState, Prefix, Row};
use crate::catalogue::Catalogue;
use crate::layout::{ReconcileError, Reconciled, examine};

impl FilesLayout {
    pub(super) fn compare_names(
        &self,
        catalogue: &mut Catalogue,
        at: Timestamp,
        step: &mut dyn FnMut(),
    ) -> Result<Reconciled, ReconcileError> {
        let mut done = Reconciled::default();
        for prefix in Prefix::all() {
            self.compare_directory(catalogue, prefix, at, &mut done)?;
            step();
        }
        Ok(done)
    }

    fn compare_directory(
        &self,
        catalogue: &mut Catalogue,
        prefix: Prefix,
        at: Timestamp,
        done: &mut Reconciled,
    ) -> Result<(), ReconcileError> {
        let rows = catalogue.prefix_rows(prefix)?;
        let mut blobs: BTreeMap<BlobId, (Option<Row>, Option<Area>)> = rows
            .into_iter()
            .map(|row| (row.id, (Some(row), None)))
            .collect();
        // Where a file is in both areas, the one among the blobs counts.
        for area in [Area::Trash, Area::Blobs] {
            for id in self.names(area, prefix)? {
                blobs.entry(id).or_default().1 = Some(area);
            }
        }
        let mut changes = Vec::new();
        for (id, (known, area)) in blobs {
            // What is in a segment is none of ours: a conversion has been interrupted.
            let elsewhere = known.as_ref().is_some_and(|row| row.location.is_some());
            if !elsewhere && !agree(known.as_ref(), area) {
                let found = examine(self, &id, known.as_ref(), at)?;
                changes.push((id, found));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        catalogue.write(|tx| {
            for (id, found) in &changes {
                match found {
                    Some(row) => tx.upsert(row)?,
                    None => tx.remove(id)?,
                }
            }
            Ok(())
        })?;
        for (id, found) in changes {
            let state = found.map(|row| row.state);
            tracing::warn!(%id, ?state, "the catalogue and the disk disagreed about a blob");
            match state {
                Some(BlobState::Lost) | None => done.lost += 1,
                Some(_) => done.adopted += 1,
            }
        }
        Ok(())
    }
}

fn agree(known: Option<&Row>, area: Option<Area>) -> bool {
    let expected = known.and_then(|row| match row.state {
        BlobState::Live | BlobState::Corrupt => Some(Area::Blobs),
        BlobState::Trashed => Some(Area::Trash),
        BlobState::Lost => None,
    });
    known.is_some() && expected == area
}
