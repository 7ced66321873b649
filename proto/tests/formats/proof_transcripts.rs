//! `vectors/proof-transcripts.json`: whole exchanges, byte for byte.

use proto::{
    Challenge, ChallengeItem, Difficulty, ItemAnswer, ItemOutcome, Judgement, Keypair, Parties,
    Proof, ProofAnswer, ProofStatement,
};
use serde_json::Value;

use crate::proofs::{noise, prove_bytes};
use crate::values::key;

fn transcripts() -> Vec<Value> {
    let text = include_str!("../../vectors/proof-transcripts.json");
    let file: Value = serde_json::from_str(text).unwrap();
    file["transcripts"].as_array().unwrap().clone()
}

fn statements() -> Value {
    serde_json::from_str(include_str!("../../vectors/statements.json")).unwrap()
}

fn keypair(name: &str) -> Keypair {
    let seed = hex::decode(statements()["keys"][name]["seed"].as_str().unwrap()).unwrap();
    key(seed.try_into().unwrap())
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    value[name].as_array().unwrap()
}

fn challenge(vector: &Value) -> Challenge {
    let parties = Parties {
        network_id: statements()["network_id"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap(),
        coordinator: keypair("coordinator").public().to_peer_id(),
        node: keypair("node").public().to_peer_id(),
    };
    let id = hex::decode(text(vector, "challenge_id")).unwrap();
    let item = |item: &Value| ChallengeItem {
        blob_id: text(item, "blob_id").parse().unwrap(),
        length: number(item, "length"),
        seed: text(item, "seed").parse().unwrap(),
    };
    Challenge::new(
        parties,
        id[..].try_into().unwrap(),
        number(vector, "issued_at_ms"),
        Difficulty::new(number(vector, "difficulty") as u32).unwrap(),
        list(vector, "items").iter().map(item).collect(),
    )
    .unwrap()
}

fn item_answer(vector: &Value) -> ItemAnswer {
    let outcome = match text(vector, "outcome") {
        "proven" => ItemOutcome::Proven(Proof {
            proof_hash: text(vector, "proof_hash").parse().unwrap(),
            body: hex::decode(text(vector, "body")).unwrap().into(),
        }),
        "missing" => ItemOutcome::Missing,
        "corrupt" => ItemOutcome::Corrupt,
        _ => ItemOutcome::Busy,
    };
    ItemAnswer {
        outcome,
        duration_ms: number(vector, "duration_ms"),
    }
}

fn judgement(vector: &Value) -> Judgement {
    match vector.as_str().unwrap() {
        "passed" => Judgement::Passed,
        "failed" => Judgement::Failed,
        "missed" => Judgement::Missed,
        _ => Judgement::Busy,
    }
}

#[test]
fn whole_exchanges_are_signed_and_kept_as_in_the_vectors() {
    for vector in transcripts() {
        let case = text(&vector, "case");
        let asked = &vector["challenge"];
        let challenge = challenge(asked);
        let bytes = challenge.signed_bytes();
        assert_eq!(hex::encode(&bytes), text(asked, "signed_bytes"), "{case}");
        assert_eq!(challenge.hash().to_string(), text(asked, "hash"), "{case}");
        assert_eq!(
            Challenge::from_signed_bytes(&bytes).as_ref(),
            Ok(&challenge)
        );
        let request = challenge.sign(&keypair("coordinator")).unwrap();
        assert_eq!(
            request.signature.to_string(),
            text(asked, "signature"),
            "{case}"
        );

        let answered = &vector["answer"];
        let answer = answered["items"].as_array().map(|items| {
            let items: Vec<_> = items.iter().map(item_answer).collect();
            let answer = ProofAnswer::sign(&challenge, items, &keypair("node")).unwrap();
            let statement = answer.open(&challenge).unwrap();
            for (digest, item) in statement.item_digests.iter().zip(list(answered, "items")) {
                assert_eq!(digest.to_string(), text(item, "item_digest"), "{case}");
            }
            statement
        });
        let signature = answer.as_ref().map(|answer| answer.signature.to_string());
        assert_eq!(
            signature.as_deref(),
            answered["signature"].as_str(),
            "{case}"
        );

        let judged = &vector["verdict"];
        let statement = ProofStatement::sign(
            challenge,
            request.signature,
            answer,
            list(judged, "judgements").iter().map(judgement).collect(),
            (number(judged, "elapsed_ms"), number(judged, "deadline_ms")),
            &keypair("coordinator"),
        )
        .unwrap();
        let signature = statement.verdict.signature.to_string();
        assert_eq!(signature, text(judged, "signature"), "{case}");
        assert_eq!(
            hex::encode(statement.to_bytes()),
            text(&vector, "statement"),
            "{case}"
        );
        assert_eq!(statement.verify(), Ok(()), "{case}");
        let kept = hex::decode(text(&vector, "statement")).unwrap();
        assert_eq!(ProofStatement::from_bytes(&kept), Ok(statement), "{case}");
    }
}

#[test]
fn bodies_of_the_transcripts_are_those_that_this_program_makes_or_refuses() {
    for vector in transcripts() {
        let (case, challenge) = (text(&vector, "case"), challenge(&vector["challenge"]));
        let Some(items) = vector["answer"]["items"].as_array() else {
            continue;
        };
        for (question, item) in challenge.questions().zip(items) {
            let ItemOutcome::Proven(proof) = item_answer(item).outcome else {
                continue;
            };
            let length = question.length;
            let blob = noise(&format!("fsn vector {length}"), length as usize);
            let honest = prove_bytes(&question, &blob).unwrap();
            let forged = case == "one byte of the proof is wrong";
            assert_eq!(proof == honest, !forged, "{case}");
            assert_eq!(proto::verify(&question, &proof).is_err(), forged, "{case}");
        }
    }
}
