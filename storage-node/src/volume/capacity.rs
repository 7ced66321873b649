//! How much of a disk the node gives.

use std::path::Path;

use anyhow::{Context, Result};
use blobstore::{Readers, catalogue_path, disk_space};
use bytesize::ByteSize;

/// What the settings say, or 80 % of what blobs take or could take now.
pub(crate) fn capacity(configured: Option<ByteSize>, root: &Path) -> Result<u64> {
    if let Some(capacity) = configured {
        return Ok(capacity.0);
    }
    let (free, _) = disk_space(root)
        .with_context(|| format!("cannot measure the disk of {}", root.display()))?;
    let path = catalogue_path(root);
    let used = match path.exists() {
        // A damaged catalogue is not this function's business: the store will say what to do.
        true => Readers::open(&path)
            .and_then(|readers| readers.counts())
            .map_or(0, |counts| counts.on_disk().disk_bytes),
        false => 0,
    };
    Ok((free + used) / 10 * 8)
}

#[cfg(test)]
mod tests {
    use blobstore::{BlobState, Catalogue, Row};
    use proto::{BlobId, Locator};

    use super::*;

    #[test]
    fn without_a_set_capacity_what_is_held_already_counts_as_room() {
        let dir = tempfile::tempdir().unwrap();
        let held = 10_000_000_000_000; // more than any disk here has free
        let row = Row {
            id: BlobId::of(b"a blob"),
            length: 1000,
            stored_at_ms: 1,
            locator: Locator::from_bytes([1; Locator::LEN]),
            state: BlobState::Live,
            state_at_ms: 1,
            disk_bytes: held,
            location: None,
            deferred_until_ms: None,
        };
        let mut catalogue = Catalogue::open(&catalogue_path(dir.path())).unwrap();
        catalogue.write(|tx| tx.upsert(&row)).unwrap();
        let capacity = capacity(None, dir.path()).unwrap();
        assert!(capacity >= held / 10 * 8, "{capacity}");
    }
}
