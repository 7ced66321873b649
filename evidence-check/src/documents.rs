//! Files of evidence: answers of a coordinator, one behind the other, of any number.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, ensure};
use api::durability::Durability;
use api::page::Page;
use proto::evidence::{Proofs, ProofsView, Receipts, Sealed};
use serde::Deserialize;

/// No answer of a coordinator is longer: 96 proofs, a page of 1000 receipts, or one chunk, are a few MiB.
pub(super) const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// What an answer can be, the more telling forms first.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Document {
    Proofs(Box<Proofs>),
    Sealed(Box<Sealed>),
    Receipts(Box<Receipts>),
    Durability(Box<Durability>),
    Verdicts(Page<ProofsView>),
}

/// Every answer in a file.
pub fn read(path: &Path, take: &mut impl FnMut(Document)) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be read", path.display());
    let file = File::open(path).with_context(cannot)?;
    let metadata = file.metadata().with_context(cannot)?;
    ensure!(
        metadata.is_file(),
        "{} is no file: it is read twice, so it cannot be a pipe",
        path.display()
    );
    let left = Rc::new(Cell::new(MAX_ANSWER_BYTES));
    let reader = Bounded {
        inner: BufReader::new(file),
        left: Rc::clone(&left),
    };
    for document in serde_json::Deserializer::from_reader(reader).into_iter::<Document>() {
        let document = document.with_context(|| {
            format!(
                "{} holds something else than receipts, proofs, opened blobs and verdicts as the API answers them",
                path.display()
            )
        })?;
        take(document);
        left.set(MAX_ANSWER_BYTES);
    }
    Ok(())
}

/// Gives no more than what is left until somebody says otherwise.
struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX);
        let length = most.min(buffer.len());
        if length == 0 && !buffer.is_empty() {
            return Err(io::Error::other("no answer of a coordinator is so long"));
        }
        let read = self.inner.read(&mut buffer[..length])?;
        self.left.set(self.left.get() - read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_that_does_not_end_is_given_up() {
        let left = Rc::new(Cell::new(10));
        let mut reader = Bounded {
            inner: io::repeat(b' '),
            left: Rc::clone(&left),
        };
        let mut bytes = [0; 7];
        assert_eq!(reader.read(&mut bytes).unwrap(), 7);
        assert_eq!(reader.read(&mut bytes).unwrap(), 3);
        assert!(reader.read(&mut bytes).is_err());
        left.set(10);
        assert_eq!(reader.read(&mut bytes).unwrap(), 7);
    }

    proptest! {
        #[test]
        fn whatever_stands_in_a_file_is_read_or_refused(bytes: Vec<u8>) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("evidence.json");
            std::fs::write(&path, &bytes).unwrap();
            let mut documents = 0;
            let _ = read(&path, &mut |_| documents += 1);
            prop_assert!(documents <= bytes.len());
        }
    }
}
