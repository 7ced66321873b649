//! The crate `aes-gcm` beside aws-lc: the same bytes at which speed. For `bench seal` and the example `seal_speed`.
//!
//! Invariant: they are measured in turn within one process, in slices of milliseconds, so that what else the machine does
//! meets both; medians of many rounds are compared. Rejected: cycles, which virtual machines do not count.

use std::hint::black_box;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use serde::Serialize;

use crate::cipher::{Aes256Gcm, NONCE_LEN, Nonce, TAG_LEN, aes_gcm, aws_lc};
use crate::{OpenError, SealError};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const CHUNKS: [usize; 3] = [4 * KIB, 256 * KIB, 4 * MIB];
/// Sealed or opened between two looks at the clock: more than the second cache holds, and less than a turn of the scheduler.
const SLICE: usize = 4 * MIB;
/// As long as that of a chunk.
const AAD: [u8; 38] = [1; 38];
/// Used again and again: nothing of this is kept.
const NONCE: Nonce = [2; NONCE_LEN];

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum ComparisonError {
    /// A library does not seal.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A library does not open what it has sealed.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// They do not seal to the same bytes.
    #[error("the libraries seal the same chunk to different bytes")]
    Differ,
}

/// Both libraries on this machine.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// Model of the processor.
    pub processor: String,
    /// Which of the instructions that count it has.
    pub instructions: Vec<&'static str>,
    /// Which of them the compiler was told to take for granted, in this crate.
    pub assumed: Vec<&'static str>,
    /// How often each was measured; medians are shown.
    pub rounds: usize,
    /// By length of the chunk.
    pub speeds: Vec<Speeds>,
}

/// MiB/s of one core with chunks of one length.
#[derive(Debug, Serialize)]
pub struct Speeds {
    /// Length of a chunk.
    pub chunk_bytes: usize,
    /// Sealing in place, without the copy into the blob and without its name.
    pub seal: Pair,
    /// Opening in place.
    pub open: Pair,
    /// The blob's name, which every sealed chunk needs as well.
    pub blake3: f64,
}

/// MiB/s.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct Pair {
    pub aes_gcm: f64,
    pub aws_lc: f64,
}

impl Pair {
    /// Of aes-gcm to aws-lc.
    pub fn ratio(&self) -> f64 {
        self.aes_gcm / self.aws_lc
    }
}

impl Comparison {
    /// Takes some 30 ms a round.
    pub fn run(rounds: usize) -> Result<Self, ComparisonError> {
        let (instructions, assumed) = instructions();
        let speeds = CHUNKS.map(|bytes| measure(bytes, rounds));
        Ok(Self {
            processor: processor(),
            instructions,
            assumed,
            rounds,
            speeds: speeds.into_iter().collect::<Result<_, _>>()?,
        })
    }
}

fn measure(chunk_bytes: usize, rounds: usize) -> Result<Speeds, ComparisonError> {
    let key = [3; 32];
    let mut aes_gcm = Candidate::<aes_gcm::Library>::new(&key, chunk_bytes)?;
    let mut aws_lc = Candidate::<aws_lc::Library>::new(&key, chunk_bytes)?;
    let mut hashing = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        aes_gcm.seal()?;
        aws_lc.seal()?;
        if aes_gcm.chunks != aws_lc.chunks {
            return Err(ComparisonError::Differ);
        }
        let began = Instant::now();
        for chunk in &aws_lc.chunks {
            black_box(proto::BlobId::of(black_box(chunk)));
        }
        hashing.push(began.elapsed());
        aes_gcm.open()?;
        aws_lc.open()?;
    }
    let speed = |times: &mut Vec<Duration>| speed(times, aes_gcm.chunks.len() * chunk_bytes);
    Ok(Speeds {
        chunk_bytes,
        seal: Pair {
            aes_gcm: speed(&mut aes_gcm.sealing),
            aws_lc: speed(&mut aws_lc.sealing),
        },
        open: Pair {
            aes_gcm: speed(&mut aes_gcm.opening),
            aws_lc: speed(&mut aws_lc.opening),
        },
        blake3: speed(&mut hashing),
    })
}

/// One library, with its own chunks to seal and open where they lie, each with room for its tag.
struct Candidate<Library> {
    library: Library,
    chunks: Vec<Vec<u8>>,
    sealing: Vec<Duration>,
    opening: Vec<Duration>,
}

impl<Library: Aes256Gcm> Candidate<Library> {
    fn new(key: &[u8; 32], chunk_bytes: usize) -> Result<Self, SealError> {
        let chunk = vec![4; chunk_bytes + TAG_LEN];
        Ok(Self {
            library: Library::new(key)?,
            chunks: vec![chunk; SLICE / chunk_bytes],
            sealing: Vec::new(),
            opening: Vec::new(),
        })
    }

    fn seal(&mut self) -> Result<(), SealError> {
        let began = Instant::now();
        for chunk in &mut self.chunks {
            let text_bytes = chunk.len() - TAG_LEN;
            let (text, tag) = chunk.split_at_mut(text_bytes);
            tag.copy_from_slice(&self.library.seal(&NONCE, &AAD, text)?);
        }
        self.sealing.push(began.elapsed());
        Ok(())
    }

    fn open(&mut self) -> Result<(), OpenError> {
        let began = Instant::now();
        for chunk in &mut self.chunks {
            self.library.open(&NONCE, &AAD, chunk)?;
        }
        self.opening.push(began.elapsed());
        Ok(())
    }
}

/// MiB/s by the median of the times.
fn speed(times: &mut [Duration], bytes: usize) -> f64 {
    times.sort_unstable();
    let median = times.get(times.len() / 2);
    median.map_or(f64::NAN, |time| {
        bytes as f64 / MIB as f64 / time.as_secs_f64()
    })
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let model = line.and_then(|line| line.split_once(": "));
    model
        .map_or(std::env::consts::ARCH, |(_, model)| model)
        .to_owned()
}

/// What the processor has, and what the compiler takes for granted.
fn instructions() -> (Vec<&'static str>, Vec<&'static str>) {
    #[cfg(target_arch = "x86_64")]
    macro_rules! look {
        ($($name:tt),*) => {
            [$(($name, std::arch::is_x86_feature_detected!($name), cfg!(target_feature = $name))),*]
        };
    }
    #[cfg(target_arch = "aarch64")]
    macro_rules! look {
        ($($name:tt),*) => {
            [$(($name, std::arch::is_aarch64_feature_detected!($name), cfg!(target_feature = $name))),*]
        };
    }
    #[cfg(target_arch = "x86_64")]
    let all = look!("aes", "pclmulqdq", "avx2", "vaes", "vpclmulqdq", "avx512f");
    #[cfg(target_arch = "aarch64")]
    let all = look!("aes", "neon", "sha3");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let all: [(&str, bool, bool); 0] = [];
    let detected = all.iter().filter(|(_, detected, _)| *detected);
    let assumed = all.iter().filter(|(_, _, assumed)| *assumed);
    (
        detected.map(|(name, ..)| *name).collect(),
        assumed.map(|(name, ..)| *name).collect(),
    )
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}; it has {}; taken for granted by the compiler: {}\n\
             MiB/s of one core, medians of {} rounds in turn\n",
            self.processor,
            listed(&self.instructions),
            listed(&self.assumed),
            self.rounds,
        )?;
        writeln!(
            f,
            "| chunk | seal: aes-gcm | aws-lc | ratio | open: aes-gcm | aws-lc | ratio | BLAKE3 |\n\
             |---|---|---|---|---|---|---|---|"
        )?;
        for speeds in &self.speeds {
            let (seal, open) = (&speeds.seal, &speeds.open);
            writeln!(
                f,
                "| {} KiB | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} | {:.2} | {:.0} |",
                speeds.chunk_bytes / KIB,
                seal.aes_gcm,
                seal.aws_lc,
                seal.ratio(),
                open.aes_gcm,
                open.aws_lc,
                open.ratio(),
                speeds.blake3,
            )?;
        }
        Ok(())
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed<L: Aes256Gcm>(library: &L, nonce: &Nonce, aad: &[u8], text: &[u8]) -> Vec<u8> {
        let mut bytes = text.to_vec();
        let tag = library.seal(nonce, aad, &mut bytes).unwrap();
        [&bytes[..], &tag].concat()
    }

    fn opened<L: Aes256Gcm>(library: &L, nonce: &Nonce, aad: &[u8], bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        library.open(nonce, aad, &mut bytes).unwrap();
        bytes.truncate(bytes.len() - TAG_LEN);
        bytes
    }

    fn check(key: [u8; 32], nonce: Nonce, aad: &[u8], text: &[u8]) {
        let a = aes_gcm::Library::new(&key).unwrap();
        let b = aws_lc::Library::new(&key).unwrap();
        let (by_a, by_b) = (sealed(&a, &nonce, aad, text), sealed(&b, &nonce, aad, text));
        assert_eq!(by_a, by_b);
        assert_eq!(opened(&a, &nonce, aad, &by_b), text);
        assert_eq!(opened(&b, &nonce, aad, &by_a), text);
        let mut damaged = by_a;
        damaged[text.len() / 2] ^= 1;
        assert_eq!(a.open(&nonce, aad, &mut damaged.clone()), Err(OpenError));
        assert_eq!(b.open(&nonce, aad, &mut damaged), Err(OpenError));
    }

    proptest! {
        #[test]
        fn both_libraries_seal_to_the_same_bytes_and_open_each_others(
            key: [u8; 32], nonce: Nonce, aad: Vec<u8>, text in prop::collection::vec(any::<u8>(), 0..5000),
        ) {
            check(key, nonce, &aad, &text);
        }
    }

    #[test]
    fn both_libraries_agree_on_whole_chunks() {
        for length in [256 * KIB - 1, 256 * KIB, 4 * MIB + 5] {
            check([1; 32], [2; NONCE_LEN], b"aad", &vec![3; length]);
        }
    }

    #[test]
    fn a_comparison_says_what_it_measured_and_where() {
        let comparison = Comparison::run(1).unwrap();
        assert_eq!(comparison.speeds.len(), CHUNKS.len());
        for speeds in &comparison.speeds {
            assert!(speeds.seal.ratio() > 0.0 && speeds.open.ratio() > 0.0);
        }
        assert!(comparison.to_string().contains(&comparison.processor));
    }
}
