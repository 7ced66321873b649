//! Small files with long names that do not compress, so that whoever shares a transaction with one fails with it.

use anyhow::Result;
use futures::future::join_all;

use super::ATTACKERS_USD;
use super::outsider::Outsider;
use super::tally::Tally;

const AT_ONCE: usize = 8;
/// Hexadecimal digits of a hash: more than the 2,650 bytes that an entry of an index takes, when compressed, too.
const NAME_BYTES: usize = 8000;

pub(super) async fn run(outsider: &Outsider, tally: &Tally) -> Result<()> {
    let session = outsider.account("naming").await?;
    session.purchase(ATTACKERS_USD).await?;
    let workers = (0..AT_ONCE as u64).map(|worker| {
        let session = &session;
        async move {
            for round in 0_u64.. {
                let name = name(worker, round);
                let stored = session.upload(&name, Some(4), "file").await;
                tally.note_outcome("file", &stored);
            }
        }
    });
    join_all(workers).await;
    Ok(())
}

fn name(worker: u64, round: u64) -> String {
    let mut bytes = [0; NAME_BYTES / 2];
    blake3::Hasher::new()
        .update(&worker.to_le_bytes())
        .update(&round.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
