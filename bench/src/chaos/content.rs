//! What files hold: bytes that follow from the run's seed and the file's number, so that any file can be
//! checked from its name alone, also one whose upload nobody answered.

use bytes::Bytes;

#[derive(Debug, Clone, Copy)]
pub(super) struct Contents {
    seed: u64,
}

impl Contents {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed }
    }

    pub(super) fn of(self, number: u64, size: u64) -> Bytes {
        let mut content = vec![0; size as usize];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&number.to_le_bytes());
        hasher.finalize_xof().fill(&mut content);
        content.into()
    }
}

pub(super) fn name_of(number: u64) -> String {
    format!("chaos-{number}")
}

pub(super) fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("chaos-")?.parse().ok()
}
