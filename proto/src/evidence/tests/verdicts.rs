//! Coordinators that judge otherwise than what was signed.

use super::*;

/// One message to node 3, which holds both blobs, judged so after so many ms.
fn judged(judgement: Judgement, elapsed_ms: u64) -> Proofs {
    let mut proofs = honest();
    proofs.items.clear();
    proofs.messages.clear();
    let held = [blob(0, 3), blob(1, 3)];
    exchange_in(&mut proofs, 3, &held, Some(judgement), elapsed_ms);
    proofs
}

#[test]
fn a_sound_proof_that_came_in_time_and_is_called_missed_refutes_the_coordinator() {
    let report = evidence(judged(Judgement::Missed, 1999)).check();
    let lie = Lie::MissedInTime {
        elapsed_ms: 1999,
        deadline_ms: 2000,
    };
    assert_eq!(
        report.findings,
        [Finding::Refuted(lie), Finding::Refuted(lie)]
    );
    // One that came too late shows all the same that the node holds the blob.
    let report = evidence(judged(Judgement::Missed, 2001)).check();
    assert_eq!(report.findings, [Finding::Proven, Finding::Proven]);
}

#[test]
fn a_coordinator_that_passes_what_did_not_come_or_came_late_is_refuted() {
    let report = evidence(judged(Judgement::Passed, 2001)).check();
    let lie = Lie::LateAndGood(Judgement::Passed);
    assert_eq!(report.findings[0], Finding::Refuted(lie));
    let mut proofs = judged(Judgement::Passed, 3);
    proofs.items.clear();
    proofs.messages.clear();
    exchange(&mut proofs, 3, &[], Some(Judgement::Passed));
    let lie = Lie::Misjudged {
        judged: Judgement::Passed,
        due: Judgement::Failed,
    };
    let report = evidence(proofs).check();
    assert_eq!(report.findings[0], Finding::Refuted(lie));
}

#[test]
fn what_an_answer_says_beside_the_verdict_is_not_believed() {
    for outcome in [
        Outcome::Failed,
        Outcome::Missed,
        Outcome::Busy,
        Outcome::Offline,
    ] {
        let mut proofs = honest();
        proofs.items[0].outcome = outcome;
        let report = evidence(proofs).check();
        let Finding::NotProven(reason) = &report.findings[0] else {
            panic!("{outcome:?}: {:?}", report.findings[0]);
        };
        assert!(reason.contains(outcome.name()), "{reason}");
        assert!(reason.contains("passed"), "{reason}");
    }
    // Called passed, where the coordinator has signed another thing.
    let mut proofs = judged(Judgement::Missed, 2001);
    proofs.items[0].outcome = Outcome::Passed;
    let report = evidence(proofs).check();
    assert!(matches!(report.findings[0], Finding::NotProven(_)));
}

/// As `GET nodes/{id}/proofs` has it.
fn view(proofs: &Proofs) -> ProofsView {
    let statement = ProofStatement::try_from(&proofs.messages[0]).unwrap();
    let count = |wanted| {
        let judgements = statement.verdict.judgements.iter();
        judgements.filter(|judgement| **judgement == wanted).count() as u32
    };
    ProofsView {
        at: jiff::Timestamp::UNIX_EPOCH,
        challenge_id: statement.challenge.id(),
        passed: count(Judgement::Passed),
        failed: count(Judgement::Failed),
        missed: count(Judgement::Missed),
        busy: count(Judgement::Busy),
        statement: BASE64_STANDARD.encode(statement.to_bytes()),
        orders: proofs.messages[0].orders.clone(),
    }
}

#[test]
fn what_is_kept_of_a_node_is_checked_as_it_is_answered() {
    for (judgement, elapsed_ms) in [(Judgement::Passed, 3), (Judgement::Missed, 2001)] {
        let mut checker = Checker::default();
        let found = checker
            .verdict(&view(&judged(judgement, elapsed_ms)))
            .unwrap();
        let findings: Vec<_> = found.into_iter().map(|found| found.finding).collect();
        assert_eq!(
            findings,
            [Finding::Judged(judgement), Finding::Judged(judgement)]
        );
        assert!(checker.is_sound());
        assert_eq!(checker.judged(), 2);
    }
    let mut checker = Checker::default();
    let found = checker
        .verdict(&view(&judged(Judgement::Missed, 3)))
        .unwrap();
    assert!(matches!(
        found[1].finding,
        Finding::Refuted(Lie::MissedInTime { .. })
    ));
    assert_eq!(checker.refuted(), 2);

    type Alter = fn(&mut ProofsView);
    let alterations: [(&str, Alter); 5] = [
        ("counts", |v| (v.passed, v.failed) = (0, 2)),
        ("challenge", |v| {
            v.challenge_id = ChallengeId::from_bytes([0; 16]);
        }),
        ("no base64", |v| v.statement = "%".into()),
        ("nothing", |v| v.statement.clear()),
        ("a bit", |v| {
            let mut bytes = BASE64_STANDARD.decode(&v.statement).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            v.statement = BASE64_STANDARD.encode(bytes);
        }),
    ];
    for (name, alter) in alterations {
        let mut checker = Checker::default();
        let mut view = view(&honest());
        alter(&mut view);
        assert!(checker.verdict(&view).is_err(), "{name}");
        assert!(!checker.is_sound(), "{name}");
    }
}

/// As `GET nodes/{id}/proofs/{challenge}` has it: nobody's file, and what was sent only where it failed.
fn kept(proofs: &Proofs) -> Proofs {
    let mut kept = proofs.clone();
    for item in &mut kept.items {
        item.index = None;
        if item.outcome != Outcome::Failed {
            (item.claim, item.body, item.proof_hash, item.duration_ms) = (None, None, None, None);
        }
    }
    kept
}

#[test]
fn a_node_refutes_with_what_it_had_sent_that_it_failed() {
    let findings = |proofs: &Proofs| {
        let mut checker = Checker::default();
        let found = checker.proofs(&kept(proofs)).into_iter();
        let findings: Vec<_> = found.map(|found| found.finding).collect();
        (findings, checker)
    };
    let (found, checker) = findings(&judged(Judgement::Failed, 3));
    let lie = Lie::Misjudged {
        judged: Judgement::Failed,
        due: Judgement::Passed,
    };
    assert_eq!(found, [Finding::Refuted(lie), Finding::Refuted(lie)]);
    assert_eq!(checker.refuted(), 2);

    let (found, checker) = findings(&judged(Judgement::Passed, 3));
    assert_eq!(found[0], Finding::Judged(Judgement::Passed));
    assert!(checker.is_sound());

    // It did fail: it said that it has nothing.
    let mut failed = honest();
    failed.items.clear();
    failed.messages.clear();
    exchange(&mut failed, 3, &[], None);
    let (found, checker) = findings(&failed);
    assert_eq!(found[0], Finding::Judged(Judgement::Failed));
    assert!(checker.is_sound());
    // And without its word the accusation stands on nothing.
    failed.items[0].claim = None;
    let (found, checker) = findings(&failed);
    assert!(matches!(found[0], Finding::NotProven(_)));
    assert!(!checker.is_sound());
}

#[test]
fn a_verdict_that_excuses_a_node_needs_the_order_that_the_node_has_shown() {
    let ordered = ordered(7, AFTER_THE_RECEIPT, Some(Judgement::Ordered));
    let excused = Finding::Judged(Judgement::Ordered);
    // Blob 0 is in the order, blob 1 is not.
    let check = |found: Vec<Found>, checker: Checker| {
        assert_eq!(found[0].finding, excused);
        assert!(says(&found[1].finding, "no order is shown"), "{found:?}");
        assert!(!checker.is_sound());
    };
    let mut listed = ordered.clone();
    listed.messages.remove(0);
    let mut checker = Checker::default();
    check(checker.verdict(&view(&listed)).unwrap(), checker);

    let mut one = kept(&ordered);
    one.items.drain(..2);
    let mut checker = Checker::default();
    check(checker.proofs(&one), checker);
}
