//! `vectors/`: what a second implementation, in Python, makes of the same transfers, blocks and heads.
//!
//! Invariant: a ledger that was written today can be verified for good, by programs of any make.

#![allow(clippy::unwrap_used)]

use ledger::{
    ExportVerification, KeptHead, ReadExportError, TransferId, block_hash, transfer_hash,
    verify_export,
};
use proto::{LedgerDay, MicroCredits, NetworkId, VerifyingKey};
use serde::Deserialize;
use uuid::Uuid;

#[derive(Deserialize)]
struct Vectors {
    network_id: NetworkId,
    network_public_key: String,
    transfers: Vec<TransferCase>,
    blocks: Vec<BlockCase>,
    heads: Vec<HeadCase>,
}

#[derive(Deserialize)]
struct TransferCase {
    transfer_id: TransferId,
    kind: String,
    idempotency_key: String,
    at: jiff::Timestamp,
    cause: String,
    entries: Vec<EntryCase>,
    hash: String,
}

#[derive(Deserialize)]
struct EntryCase {
    owner_id: Uuid,
    account: String,
    amount_microcredits: MicroCredits,
}

#[derive(Deserialize)]
struct BlockCase {
    block: u64,
    previous_hash: String,
    hash: String,
    transfers: usize,
}

#[derive(Deserialize)]
struct HeadCase {
    #[serde(flatten)]
    head: LedgerDay,
    signed_bytes: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/ledger.json")).unwrap()
}

const EXPORT: &str = include_str!("../vectors/export.jsonl");

fn kept() -> Vec<KeptHead> {
    let heads: Vec<LedgerDay> =
        serde_json::from_str(include_str!("../vectors/ledger-days.json")).unwrap();
    let of_a_node = |head| KeptHead {
        source: "a node".to_owned(),
        head,
    };
    heads.into_iter().map(of_a_node).collect()
}

fn hash(hex_digits: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hex::decode_to_slice(hex_digits, &mut hash).unwrap();
    hash
}

fn verified(export: &str, kept: &[KeptHead]) -> Result<ExportVerification, ReadExportError> {
    verify_export(export.as_bytes(), kept, None)
}

#[test]
fn transfers_and_blocks_have_the_hashes_of_the_vectors() {
    let vectors = vectors();
    for case in &vectors.transfers {
        let entries = case.entries.iter();
        let made = transfer_hash(
            case.transfer_id,
            &case.kind,
            &case.idempotency_key,
            case.at,
            &case.cause,
            entries.map(|entry| (entry.owner_id, &*entry.account, entry.amount_microcredits)),
        );
        assert_eq!(hex::encode(made), case.hash, "{}", case.transfer_id);
    }
    let mut transfers = vectors.transfers.iter();
    let mut previous = [0; 32];
    for case in &vectors.blocks {
        assert_eq!(hash(&case.previous_hash), previous);
        let sealed = transfers.by_ref().take(case.transfers);
        previous = block_hash(&previous, case.block, sealed.map(|case| hash(&case.hash)));
        assert_eq!(hash(&case.hash), previous);
    }
}

#[test]
fn heads_are_signed_as_in_the_vectors() {
    let vectors = vectors();
    let key = hash(&vectors.network_public_key);
    assert_eq!(NetworkId::of_public_key(&key), vectors.network_id);
    let key = VerifyingKey::from_bytes(&key).unwrap();
    for case in &vectors.heads {
        let signed = case.head.signed_bytes(vectors.network_id);
        assert_eq!(hex::encode(signed), case.signed_bytes);
        assert_eq!(case.head.verify(vectors.network_id, &key), Ok(()));
    }
}

#[test]
fn an_export_is_verified_without_a_database() {
    let report = verified(EXPORT, &kept()).unwrap();
    assert_eq!(report.findings.told(), [""; 0]);
    assert_eq!((report.transfers, report.unsealed), (4, 1));
    assert_eq!((report.blocks, report.days), (2, 2));
    assert!(report.signatures_checked);
    assert_eq!(report.network_id, Some(vectors().network_id));
}

#[test]
fn a_change_anywhere_in_an_export_is_found() {
    let lines: Vec<&str> = EXPORT.lines().collect();
    let mut changes = 0;
    for (place, line) in lines.iter().enumerate() {
        let mut with = |line: Option<String>| {
            let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            match &line {
                Some(line) => changed[place].clone_from(line),
                None => drop(changed.remove(place)),
            }
            let outcome = verified(&changed.join("\n"), &kept());
            let found = outcome.map_or(true, |report| report.findings.count() > 0);
            assert!(found, "line {place}: {line:?}");
            changes += 1;
        };
        for (old, new) in [('0', "1"), ('7', "8")] {
            if let Some(at) = line.rfind(old) {
                with(Some(format!("{}{new}{}", &line[..at], &line[at + 1..])));
            }
        }
        // Heads in the export can be left out, and what is not sealed yet was never promised.
        if place > 2 && !line.contains("\"block\":null") {
            with(None);
        }
    }
    assert!(changes > 15, "{changes}");
}

#[test]
fn a_ledger_that_was_rewritten_soundly_is_told_by_what_was_kept_alone() {
    let cut: String = EXPORT
        .lines()
        .filter(|line| !line.contains("\"block\":2") && !line.contains("\"block_number\":2"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(verified(&cut, &[]).unwrap().findings.count(), 0);
    let report = verified(&cut, &kept()).unwrap();
    let told = report.findings.told();
    assert!(told[0].contains("there was a block 2"), "{told:?}");

    // The same number, and another hash.
    let mut other = kept();
    other[1].head.block_hash = [7; 32];
    let report = verify_export(EXPORT.as_bytes(), &other, None).unwrap();
    let told = report.findings.told();
    assert!(told[0].contains("proves nothing"), "{told:?}");
}

#[test]
fn heads_of_two_pasts_contradict_each_other() {
    let unsigned = EXPORT.replace(&vectors().network_public_key, "");
    let unsigned = unsigned.replace("\"network_public_key\":\"\"", "\"network_public_key\":null");
    let mut two = kept();
    two.push(KeptHead {
        source: "another node".to_owned(),
        head: LedgerDay {
            block_hash: [7; 32],
            ..two[1].head.clone()
        },
    });
    let report = verified(&unsigned, &two).unwrap();
    assert!(!report.signatures_checked);
    let told = report.findings.told().join("\n");
    assert!(told.contains("cannot both be of one ledger"), "{told}");
    assert!(told.contains("the ledger was rewritten"), "{told}");
}

#[test]
fn what_is_no_export_is_refused_with_its_line() {
    let long = format!("{{\"format\":\"{}\"}}", "x".repeat(1 << 20));
    for (text, line) in [
        ("", 1),
        ("block,transfer_id,kind\r\n", 1),
        ("{}\n", 1),
        ("[]\n", 1),
        (&*long, 1),
        ("{\"format\":\"fsn ledger export 2\"}\n{\"block\":1}\n", 2),
        ("{\"format\":\"fsn ledger export 2\"}\n\n", 2),
    ] {
        let error = verified(text, &[]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("line {line}:")), "{error}");
        assert!(error.contains("--format jsonl"), "{error}");
    }
}
