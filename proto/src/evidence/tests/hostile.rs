//! What strangers may hand in as evidence: it is refused, accuses nobody, and nothing panics.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Strangers' statements: refused or read, and never believed.
    #[test]
    fn arbitrary_statements_bind_nothing(
        coordinator in ".{0,80}", index: u32, bytes: u32, sha256: [u8; 32], numbers: [u8; 4], length: u64,
        signature in "([0-9a-f]{128}|.{0,140})",
    ) {
        let item = StatementItem {
            network_id: network_id(),
            coordinator,
            file_id: file_id(FILE),
            index,
            chunk_bytes: bytes,
            chunk_sha256: ChunkSha256::from_bytes(sha256),
            piece: numbers[0],
            k: numbers[1],
            n: numbers[2],
            sealing: numbers[3],
            blob_id: BlobId::from_bytes(sha256),
            length,
            signature,
        };
        prop_assert!(item.open().is_err());
    }

    #[test]
    fn arbitrary_verdicts_are_refused(statement: Vec<u8>, in_base64: bool, id: [u8; 16]) {
        let view = ProofsView {
            at: jiff::Timestamp::UNIX_EPOCH,
            challenge_id: ChallengeId::from_bytes(id),
            passed: 1,
            failed: 0,
            missed: 0,
            busy: 0,
            statement: match in_base64 {
                true => BASE64_STANDARD.encode(&statement),
                false => String::from_utf8_lossy(&statement).into_owned(),
            },
            orders: Vec::new(),
        };
        prop_assert!(Checker::default().verdict(&view).is_err());
    }

    #[test]
    fn arbitrary_copies_open_as_nothing(key in "([0-9a-f]{64}|.{0,70})", blob: Vec<u8>) {
        let mut shown = sealed(0, 2, &statement_on(FILE, 0, &super::blob(0, 2)));
        shown.chunk_key = key;
        shown.blob = BASE64_STANDARD.encode(&blob);
        let found = Checker::default().sealed(&shown, |_, _, _| None);
        prop_assert!(matches!(found.finding, Finding::NotProven(_)));
    }
}
