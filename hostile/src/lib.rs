//! Inputs as strangers send them, for tests of whatever reads them: noise, and sound inputs that were tampered with.
//!
//! A target is a decoder and a corpus of sound inputs. [`attack`] hands it every input of the corpus, then many that
//! are made of them: bits flipped, bytes set to what is often handled wrongly, parts left out, doubled, moved, taken
//! from another input. What makes the decoder panic is shrunk and kept as a file of the corpus, which every later run
//! reads first; so a fault that was found once stays found.
//!
//! How many inputs come of chance is `FSN_HOSTILE_CASES` (20,000 unless it is set: a fraction of a second for most
//! targets); which, `FSN_HOSTILE_SEED` (the same each time unless it is set). `scripts/fuzz` sets both. Rejected:
//! coverage-guided fuzzing, which needs a nightly compiler and a build of its own; the structure of these formats is
//! in the corpus.

#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "it fails tests, and is linked into nothing else"
)]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

/// As many as a test can have beside hundreds of others.
const CASES: u32 = 20_000;
/// Longer than any part of a message that is read with care.
const LONGEST_NOISE: usize = 300;
/// Bytes that end, begin or overflow something.
const EDGES: [u8; 14] = [
    0x00, 0x01, 0x7f, 0x80, 0xff, 0xfe, b'"', b'\\', b'\n', b'\r', b',', b'-', b'%', b';',
];

/// How many inputs come of chance.
pub fn cases() -> u32 {
    cases_or(CASES)
}

/// The same of a target that takes longer.
pub fn cases_or(fewer: u32) -> u32 {
    let set = std::env::var("FSN_HOSTILE_CASES").ok();
    set.map_or(fewer, |text| {
        let cases = text.replace('_', "").parse();
        cases.expect("FSN_HOSTILE_CASES is a number")
    })
}

/// A change of an input.
#[derive(Debug, Clone)]
enum Edit {
    Flip {
        at: Index,
        bits: u8,
    },
    Set {
        at: Index,
        to: u8,
    },
    Insert {
        at: Index,
        bytes: Vec<u8>,
    },
    Remove {
        at: Index,
        length: usize,
    },
    Double {
        at: Index,
        length: usize,
    },
    Move {
        from: Index,
        to: Index,
        length: usize,
    },
    Cut {
        at: Index,
    },
    /// What follows is another input's.
    Splice {
        at: Index,
        other: Index,
        from: Index,
    },
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>();
    let length = || prop_oneof![1..4_usize, 1..64_usize];
    prop_oneof![
        4 => (at, 1..=255_u8).prop_map(|(at, bits)| Edit::Flip { at, bits }),
        4 => (any::<Index>(), prop::sample::select(&EDGES[..])).prop_map(|(at, to)| Edit::Set { at, to }),
        2 => (any::<Index>(), vec(any::<u8>(), 1..12)).prop_map(|(at, bytes)| Edit::Insert { at, bytes }),
        2 => (any::<Index>(), length()).prop_map(|(at, length)| Edit::Remove { at, length }),
        2 => (any::<Index>(), length()).prop_map(|(at, length)| Edit::Double { at, length }),
        1 => (any::<Index>(), any::<Index>(), length())
            .prop_map(|(from, to, length)| Edit::Move { from, to, length }),
        1 => any::<Index>().prop_map(|at| Edit::Cut { at }),
        2 => (any::<Index>(), any::<Index>(), any::<Index>())
            .prop_map(|(at, other, from)| Edit::Splice { at, other, from }),
    ]
}

/// `0..=length`
fn place(index: &Index, length: usize) -> usize {
    index.index(length + 1)
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let part = |at: &Index, length: usize, of: &[u8]| {
            let start = place(at, of.len());
            start..(start + length).min(of.len())
        };
        match self {
            Self::Flip { at, bits } if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            Self::Set { at, to } if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = *to;
            }
            Self::Flip { .. } | Self::Set { .. } => {}
            Self::Insert { at, bytes: new } => {
                let at = place(at, bytes.len());
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove { at, length } => drop(bytes.drain(part(at, *length, bytes))),
            Self::Double { at, length } => {
                let range = part(at, *length, bytes);
                let twice = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, twice);
            }
            Self::Move { from, to, length } => {
                let moved: Vec<u8> = bytes.drain(part(from, *length, bytes)).collect();
                let to = place(to, bytes.len());
                bytes.splice(to..to, moved);
            }
            Self::Cut { at } => bytes.truncate(place(at, bytes.len())),
            Self::Splice { at, other, from } => {
                let other = &corpus[other.index(corpus.len())];
                bytes.truncate(place(at, bytes.len()));
                bytes.extend_from_slice(&other[place(from, other.len())..]);
            }
        }
    }
}

/// Noise, and inputs that are almost those of the corpus, which has at least one.
fn inputs(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let tampered = (any::<Index>(), vec(edit(), 1..6)).prop_map(move |(which, edits)| {
        let mut bytes = corpus[which.index(corpus.len())].clone();
        for edit in edits {
            edit.apply(&mut bytes, &corpus);
        }
        bytes
    });
    prop_oneof![1 => vec(any::<u8>(), 0..LONGEST_NOISE), 9 => tampered]
}

/// Hands `reads` the corpus of this target, in `tests/corpus/<target>` of the crate whose manifest is in `crate_dir`
/// and in `sound`, and then what is made of it. `reads` panics on what must not be.
pub fn attack(
    crate_dir: &str,
    target: &str,
    sound: impl IntoIterator<Item = Vec<u8>>,
    reads: impl Fn(&[u8]),
) {
    attack_with(cases(), crate_dir, target, sound, reads);
}

/// As [`attack`], with so many inputs that come of chance.
pub fn attack_with(
    cases: u32,
    crate_dir: &str,
    target: &str,
    sound: impl IntoIterator<Item = Vec<u8>>,
    reads: impl Fn(&[u8]),
) {
    let dir = Path::new(crate_dir).join("tests/corpus").join(target);
    let mut corpus: Vec<Vec<u8>> = kept(&dir).into_iter().map(|(_, bytes)| bytes).collect();
    corpus.extend(sound);
    corpus.push(Vec::new());
    for bytes in &corpus {
        reads(bytes);
    }
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, chance(target));
    let outcome = runner.run(&inputs(corpus), |bytes| {
        reads(&bytes);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, bytes)) => {
            let file = keep(&dir, &bytes);
            panic!(
                "{target}: {reason}; the input is kept as {}",
                file.display()
            );
        }
        Err(TestError::Abort(reason)) => panic!("{target}: {reason}"),
    }
}

/// The same each time, but for another seed; another one for each target.
fn chance(target: &str) -> TestRng {
    let seed = std::env::var("FSN_HOSTILE_SEED").unwrap_or_default();
    let mut hasher = blake3::Hasher::new();
    hasher.update(seed.as_bytes()).update(target.as_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, hasher.finalize().as_bytes())
}

/// Files of a corpus, in the order of their names; none when there is no such directory.
pub fn kept(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let read = |file: PathBuf| {
        let bytes = fs::read(&file).expect("a file of the corpus can be read");
        (file, bytes)
    };
    files.into_iter().map(read).collect()
}

fn keep(dir: &Path, bytes: &[u8]) -> PathBuf {
    let name = hex::encode(&blake3::hash(bytes).as_bytes()[..8]);
    let file = dir.join(format!("found-{name}"));
    let written = fs::create_dir_all(dir).and_then(|()| fs::write(&file, bytes));
    written.expect("the corpus can be written");
    file
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn what_makes_a_decoder_panic_is_found_shrunk_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_str().unwrap();
        let reads = |bytes: &[u8]| assert!(!bytes.starts_with(b"length=\xff"), "overflow");
        let sound = || [b"length=\x07 and some more".to_vec()];
        let found = catch_unwind(AssertUnwindSafe(|| attack(root, "toy", sound(), reads)));
        assert!(found.is_err());
        let kept = kept(&dir.path().join("tests/corpus/toy"));
        assert_eq!(kept.len(), 1);
        assert!(kept[0].1.starts_with(b"length=\xff"));
        // It comes first from now on.
        let first = AtomicU32::new(0);
        let reads = |bytes: &[u8]| {
            if first.fetch_add(1, Ordering::Relaxed) == 0 {
                assert_eq!(bytes, kept[0].1);
            }
        };
        attack(root, "toy", sound(), reads);
        assert!(first.load(Ordering::Relaxed) > cases());
    }

    #[test]
    fn the_same_inputs_come_each_time() {
        let all = || {
            let digest = std::cell::RefCell::new(blake3::Hasher::new());
            attack("/nowhere", "same", [b"an input".to_vec()], |bytes| {
                digest.borrow_mut().update(bytes);
            });
            digest.into_inner().finalize()
        };
        assert_eq!(all(), all());
    }
}
