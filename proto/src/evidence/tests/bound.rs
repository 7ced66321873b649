//! Evidence that is somebody else's, or nobody's, and blobs that are opened.

use super::*;

/// The coordinator has not stored this owner's file, and shows him the evidence of another one.
#[test]
fn evidence_of_another_file_is_refused_whoever_signed_for_it() {
    let of_b = Evidence {
        file_id: Some(file_id(0xaa)),
        ..evidence(honest())
    };
    let report = of_b.check();
    assert_eq!(report.bad_receipts.len(), 4);
    assert_eq!(copies(&report), []);
    assert!(!report.checker.is_complete());
}

#[test]
fn receipts_that_no_coordinator_binds_to_a_file_are_told_apart() {
    let mut unbound = evidence(honest());
    unbound.file_id = None;
    unbound.receipts[0].items[1].statement = None;
    let report = unbound.check();
    assert!(report.checker.is_sound() && report.checker.is_proven());
    assert!(!report.checker.is_bound() && !report.checker.is_complete());
    let bound: Vec<_> = report.checker.chunks().map(|copies| copies.bound).collect();
    assert_eq!(bound, [1, 2]);
}

#[test]
fn a_statement_that_nobody_signed_or_on_another_blob_binds_nothing() {
    type Alter = fn(&mut StatementItem);
    let alterations: [(&str, Alter); 12] = [
        ("file", |s| s.file_id = file_id(1)),
        ("chunk", |s| s.index = 1),
        ("digest", |s| s.chunk_sha256 = digest(9)),
        ("bytes", |s| s.chunk_bytes += 1),
        ("blob", |s| s.blob_id = BlobId::of(b"other")),
        ("length", |s| s.length += 1),
        ("pieces", |s| s.n = 5),
        ("piece", |s| s.piece = 1),
        ("sealing", |s| s.sealing = 9),
        ("network", |s| s.network_id = NetworkId::from_bytes([8; 32])),
        ("coordinator", |s| {
            s.coordinator = keypair(2).public().to_peer_id().to_string();
        }),
        ("signature", |s| s.signature = "0".repeat(128)),
    ];
    for (name, alter) in alterations {
        let mut evidence = evidence(honest());
        alter(evidence.receipts[0].items[0].statement.as_mut().unwrap());
        let report = evidence.check();
        assert_eq!(report.bad_receipts.len(), 1, "{name}");
        assert!(!report.checker.is_complete(), "{name}");
    }
    // One that is sound, and about another copy.
    let mut swapped = evidence(honest());
    swapped.receipts[0].items[0].statement = Some(stated(0, &blob(0, 3)));
    assert_eq!(swapped.check().bad_receipts.len(), 1);
}

#[test]
fn a_coordinator_that_signs_two_things_of_one_chunk_or_blob_is_refuted() {
    let mut other_content = statement_on(FILE, 0, &blob(0, 3));
    other_content.chunk_sha256 = digest(7);
    let other_place = statement_on(0xaa, 5, &blob(1, 2));
    let (file_id, index) = (file_id(FILE), 0);
    let blob_id = other_place.blob_id;
    for (statement, lie) in [
        (other_content, Lie::TwoContents { file_id, index }),
        (other_place, Lie::TwoPlaces { blob_id }),
    ] {
        let mut checker = Checker::new(None, None, None);
        assert_eq!(checker.receipts(&receipts()), []);
        let found = checker.statement("somebody", &signed(&statement)).unwrap();
        assert_eq!(found.finding, Finding::Refuted(lie));
        assert_eq!(checker.refuted(), 1);
    }
}

#[test]
fn a_copy_that_is_shown_opens_as_what_the_coordinator_has_signed() {
    let statement = statement_on(FILE, 0, &blob(0, 2));
    let shown = sealed(0, 2, &statement);
    let json = serde_json::to_string(&shown).unwrap();
    let shown: Sealed = serde_json::from_str(&json).unwrap();
    let mut checker = Checker::new(None, None, Some(file_id(FILE)));
    assert_eq!(checker.sealed_receipt(&shown), None);
    let found = checker.sealed(&shown, |told, key, bytes| {
        assert_eq!((told, key), (&statement, &KEY));
        assert_eq!(bytes, blob(0, 2));
        Some(Content::Chunk(digest(0), statement.chunk_bytes))
    });
    assert_eq!(found.finding, Finding::Opened);
    assert_eq!(checker.opened(), 1);
    assert!(checker.is_sound() && checker.is_bound());
}

/// The blob is another file's, or rubbish: what the coordinator has signed of it refutes it.
#[test]
fn a_copy_that_does_not_open_as_what_was_signed_refutes_the_coordinator() {
    let statement = statement_on(FILE, 0, &blob(0, 2));
    for content in [
        None,
        Some(Content::Chunk(digest(1), statement.chunk_bytes)),
        Some(Content::Piece),
        Some(Content::Chunk(digest(0), statement.chunk_bytes + 1)),
    ] {
        let mut checker = Checker::default();
        let found = checker.sealed(&sealed(0, 2, &statement), |_, _, _| content);
        assert_eq!(found.finding, Finding::Refuted(Lie::OpensOtherwise));
        assert_eq!(checker.refuted(), 1);
        assert!(!checker.is_sound());
    }
}

#[test]
fn whatever_is_altered_in_a_copy_that_is_shown_accuses_nobody() {
    type Alter = fn(&mut Sealed);
    let alterations: [(&str, Alter); 7] = [
        ("key", |s| s.chunk_key.replace_range(..2, "ff")),
        ("no key", |s| s.chunk_key.clear()),
        ("key's signature", |s| s.opening_signature = "0".repeat(128)),
        ("blob", |s| s.blob = BASE64_STANDARD.encode(b"other")),
        ("no base64", |s| s.blob = "%".into()),
        ("statement", |s| s.receipt.statement = None),
        ("file", |s| {
            s.receipt.statement.as_mut().unwrap().file_id = file_id(1);
        }),
    ];
    for (name, alter) in alterations {
        let mut shown = sealed(0, 2, &statement_on(FILE, 0, &blob(0, 2)));
        alter(&mut shown);
        let mut checker = Checker::default();
        let found = checker.sealed(&shown, |_, _, _| None);
        assert!(
            matches!(found.finding, Finding::NotProven(_)),
            "{name}: {found:?}"
        );
        assert_eq!(checker.refuted(), 0, "{name}");
        assert!(!checker.is_sound(), "{name}");
    }
}

#[test]
fn a_piece_of_a_code_is_signed_in_the_same_way_and_alone_shows_nothing_of_its_chunk() {
    let statement = ChunkStatement {
        piece: Piece::new(11, 8, 12).unwrap(),
        ..statement_on(FILE, 0, &blob(0, 2))
    };
    assert_eq!(signed(&statement).open(), Ok(statement.clone()));
    let mut checker = Checker::default();
    let shown = sealed(0, 2, &statement);
    let mut found = |content| checker.sealed(&shown, |_, _, _| content).finding;
    assert_eq!(found(Some(Content::Piece)), Finding::Piece);
    assert!(matches!(
        found(Some(Content::Unkept)),
        Finding::NotProven(_)
    ));
    assert_eq!(found(None), Finding::Refuted(Lie::OpensOtherwise));
    let whole = Content::Chunk(statement.chunk_sha256, statement.chunk_bytes);
    assert_eq!(found(Some(whole)), Finding::Opened);
    assert_eq!(checker.opened(), 1);
}
