//! `instance.json`: which copy of its data directory the node runs from.
//!
//! A directory that was copied has the same identity, and both copies can be started. Each start takes a new number, once
//! a coordinator has taken the one before; so two copies have numbers that the other one does not know, and the coordinator
//! sees which of them went on first. A number that no coordinator has taken yet is kept over restarts, however many there
//! are, unless the directory is another one on disk: then it is a copy, or was moved.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use kit::private_file;
use proto::{InstanceId, MAX_EARLIER_INSTANCES};
use rand::{CryptoRng, RngExt};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    instance: InstanceId,
    /// By a coordinator.
    taken: bool,
    /// The oldest first.
    earlier: Vec<InstanceId>,
    /// The directory's number on its disk.
    inode: u64,
}

fn next(before: Option<&Saved>, inode: u64, random: &mut impl CryptoRng) -> Saved {
    let mut earlier = before.map_or_else(Vec::new, |before| {
        [&before.earlier[..], &[before.instance]].concat()
    });
    let surplus = earlier.len().saturating_sub(MAX_EARLIER_INSTANCES);
    earlier.drain(..surplus);
    Saved {
        instance: InstanceId::from_bytes(random.random()),
        taken: false,
        earlier,
        inode,
    }
}

/// Of the running node.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    path: PathBuf,
    saved: Arc<Mutex<Saved>>,
}

impl Instance {
    /// Of the node that starts in this directory, whose lock the caller holds.
    pub(super) fn begin(root: &Path, random: &mut impl CryptoRng) -> Result<Self> {
        let path = root.join("instance.json");
        let inode = fs::metadata(root)
            .with_context(|| format!("cannot look at {}", root.display()))?
            .ino();
        let before: Option<Saved> = private_file::read_json(&path).with_context(|| {
            format!(
                "{} tells this data directory from its copies; remove it and run `storage-node init`, and \
                 this directory counts from then on",
                path.display()
            )
        })?;
        let saved = match before {
            Some(before) if !before.taken && before.inode == inode => before,
            before => {
                let next = next(before.as_ref(), inode, random);
                match (private_file::write_json(&path, &next), before) {
                    (Ok(()), _) => next,
                    // Said again, it is taken again: a disk that is full is no reason to stay away.
                    (Err(error), Some(before)) if before.inode == inode => {
                        tracing::warn!(
                            error = format!("{error:#}"),
                            "the node keeps its instance number"
                        );
                        before
                    }
                    (Err(error), _) => return Err(error),
                }
            }
        };
        Ok(Self {
            path,
            saved: Arc::new(Mutex::new(saved)),
        })
    }

    /// What coordinators are told.
    pub(crate) fn said(&self) -> proto::Instance {
        let saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        proto::Instance {
            id: saved.instance,
            earlier: saved.earlier.clone(),
        }
    }

    /// A coordinator has taken it: the next start takes another number.
    pub(crate) fn note_taken(&self) -> Result<()> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if saved.taken {
            return Ok(());
        }
        let taken = Saved {
            taken: true,
            ..saved.clone()
        };
        private_file::write_json(&self.path, &taken)?;
        *saved = taken;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn begin(root: &Path, seed: u64) -> proto::Instance {
        let instance = Instance::begin(root, &mut StdRng::seed_from_u64(seed)).unwrap();
        instance.said()
    }

    fn begin_and_be_taken(root: &Path, seed: u64) -> proto::Instance {
        let instance = Instance::begin(root, &mut StdRng::seed_from_u64(seed)).unwrap();
        instance.note_taken().unwrap();
        instance.said()
    }

    #[test]
    fn a_start_takes_a_new_number_once_the_one_before_was_taken() {
        let dir = tempfile::tempdir().unwrap();
        let first = begin(dir.path(), 1);
        assert_eq!(first.earlier, []);
        assert_eq!(begin_and_be_taken(dir.path(), 2), first);
        let second = begin(dir.path(), 3);
        assert_ne!(second.id, first.id);
        assert_eq!(second.earlier, [first.id]);
    }

    #[test]
    fn a_copy_has_another_number_than_the_original_whether_it_was_taken_or_not() {
        for taken in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let (original, copy) = (dir.path().join("node"), dir.path().join("node2"));
            fs::create_dir(&original).unwrap();
            let before = match taken {
                true => begin_and_be_taken(&original, 1),
                false => begin(&original, 1),
            };
            fs::create_dir(&copy).unwrap();
            fs::copy(original.join("instance.json"), copy.join("instance.json")).unwrap();
            let (original, copy) = (begin(&original, 2), begin(&copy, 3));
            assert_ne!(original.id, copy.id);
            assert_eq!(copy.earlier, [before.id]);
        }
    }

    #[test]
    fn a_few_numbers_are_remembered_however_many_there_were() {
        let dir = tempfile::tempdir().unwrap();
        let taken: Vec<_> = (0..40)
            .map(|seed| begin_and_be_taken(dir.path(), seed))
            .collect();
        let last = begin(dir.path(), 99);
        let newest: Vec<_> = taken[40 - MAX_EARLIER_INSTANCES..]
            .iter()
            .map(|said| said.id)
            .collect();
        assert_eq!(last.earlier, newest);
    }
}
