//! Every body against an example of it in `examples/`: what is read is written again byte for byte, members in
//! their order; what a newer coordinator adds does not disturb a client; what requests refuse is refused.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;

use api::access_keys::{AccessKey, AccessKeys, NewAccessKey};
use api::auth::{
    AddressToken, Credentials, DeleteAccount, Me, NewPassword, PasswordReset, RefreshToken,
    Registered, ResetRequest, Tokens, Usage,
};
use api::buckets::{
    Bucket, BucketChange, Buckets, Changes, CopyBody, NewBucket, Object, ObjectTarget, Objects,
    RestoreBody,
};
use api::classes::Classes;
use api::credits::{Balance, PurchaseBody, Purchased, Transaction};
use api::drain::{DrainPlan, DrainView};
use api::durability::Durability;
use api::earnings::{Earnings, PayoutBody, PayoutDestination, PayoutDestinationBody, PayoutView};
use api::evidence::{ProofRequest, Proofs, Receipts, Sealed, SealedParams};
use api::files::File;
use api::health::Health;
use api::jobs::Jobs;
use api::network::NetworkDocument;
use api::node_proofs::ProofsView;
use api::nodes::{Node, NodeDetail, NodeToken, Nonce, RegisterBody, RegisteredNode};
use api::page::Page;
use api::passkeys::{
    AddedPasskey, NewPasskey, PasskeyAnswer, PasskeyLogin, PasskeyName, PasskeyQuestion, Passkeys,
};
use api::peers::Peers;
use api::problem::Problem;
use api::second_factor::{Confirm, Enrolment, LoginCode, Proven, RecoveryCodes, SecondFactor};
use api::security_events::SecurityEvent;
use api::sessions::Sessions;
use api::shares::{
    ChangeShare, NewShare, Share, SharedContent, Shares, UnlockShare, UnlockedShare,
};
use api::summary::Summary;
use api::uploads::{Chunk, Chunks, CompleteBody, InitiateBody, Initiated, UploadStatus};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/examples");

/// Reads a body, and says how it is written.
type Rewrite = fn(&str) -> serde_json::Result<String>;

fn rewrite<T: Serialize + DeserializeOwned>(json: &str) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&serde_json::from_str::<T>(json)?)
}

const ANSWERS: &[(&str, Rewrite)] = &[
    ("access_keys.AccessKey", rewrite::<AccessKey>),
    ("access_keys.AccessKeys", rewrite::<AccessKeys>),
    ("auth.Me", rewrite::<Me>),
    ("auth.Registered", rewrite::<Registered>),
    ("auth.Tokens", rewrite::<Tokens>),
    ("buckets.Bucket", rewrite::<Bucket>),
    ("buckets.Buckets", rewrite::<Buckets>),
    ("buckets.Changes", rewrite::<Changes>),
    ("buckets.Object", rewrite::<Object>),
    ("buckets.Objects", rewrite::<Objects>),
    ("auth.Usage", rewrite::<Usage>),
    ("classes.Classes", rewrite::<Classes>),
    ("credits.Balance", rewrite::<Balance>),
    ("credits.Purchased", rewrite::<Purchased>),
    ("credits.Transaction", rewrite::<Transaction>),
    ("drain.DrainPlan", rewrite::<DrainPlan>),
    ("drain.DrainView", rewrite::<DrainView>),
    ("durability.Durability", rewrite::<Durability>),
    ("earnings.Earnings", rewrite::<Earnings>),
    ("earnings.PayoutDestination", rewrite::<PayoutDestination>),
    ("earnings.PayoutView", rewrite::<PayoutView>),
    ("evidence.Proofs", rewrite::<Proofs>),
    ("evidence.Receipts", rewrite::<Receipts>),
    ("evidence.Sealed", rewrite::<Sealed>),
    ("files.File", rewrite::<File>),
    ("files.Page", rewrite::<Page<File>>),
    ("health.Health", rewrite::<Health>),
    ("jobs.Jobs", rewrite::<Jobs>),
    ("network.NetworkDocument", rewrite::<NetworkDocument>),
    ("node_proofs.ProofsView", rewrite::<ProofsView>),
    ("nodes.Node", rewrite::<Node>),
    ("nodes.NodeDetail", rewrite::<NodeDetail>),
    ("nodes.NodeToken", rewrite::<NodeToken>),
    ("nodes.Nonce", rewrite::<Nonce>),
    ("nodes.RegisteredNode", rewrite::<RegisteredNode>),
    ("passkeys.AddedPasskey", rewrite::<AddedPasskey>),
    ("passkeys.PasskeyQuestion", rewrite::<PasskeyQuestion>),
    ("passkeys.Passkeys", rewrite::<Passkeys>),
    ("peers.Peers", rewrite::<Peers>),
    ("problem.Problem", rewrite::<Problem>),
    ("second_factor.Enrolment", rewrite::<Enrolment>),
    ("second_factor.RecoveryCodes", rewrite::<RecoveryCodes>),
    ("second_factor.SecondFactor", rewrite::<SecondFactor>),
    ("security_events.SecurityEvent", rewrite::<SecurityEvent>),
    ("sessions.Sessions", rewrite::<Sessions>),
    ("summary.Summary", rewrite::<Summary>),
    ("shares.Share", rewrite::<Share>),
    ("shares.Shares", rewrite::<Shares>),
    ("shares.SharedContent", rewrite::<SharedContent>),
    ("shares.UnlockedShare", rewrite::<UnlockedShare>),
    ("uploads.Chunk", rewrite::<Chunk>),
    ("uploads.Chunks", rewrite::<Chunks>),
    ("uploads.Initiated", rewrite::<Initiated>),
    ("uploads.UploadStatus", rewrite::<UploadStatus>),
];

const REQUESTS: &[(&str, Rewrite)] = &[
    ("access_keys.NewAccessKey", rewrite::<NewAccessKey>),
    ("auth.Credentials", rewrite::<Credentials>),
    ("auth.DeleteAccount", rewrite::<DeleteAccount>),
    ("auth.AddressToken", rewrite::<AddressToken>),
    ("auth.NewPassword", rewrite::<NewPassword>),
    ("auth.PasswordReset", rewrite::<PasswordReset>),
    ("auth.ResetRequest", rewrite::<ResetRequest>),
    ("auth.RefreshToken", rewrite::<RefreshToken>),
    ("buckets.BucketChange", rewrite::<BucketChange>),
    ("buckets.CopyBody", rewrite::<CopyBody>),
    ("buckets.NewBucket", rewrite::<NewBucket>),
    ("buckets.ObjectTarget", rewrite::<ObjectTarget>),
    ("buckets.RestoreBody", rewrite::<RestoreBody>),
    ("credits.PurchaseBody", rewrite::<PurchaseBody>),
    ("earnings.PayoutBody", rewrite::<PayoutBody>),
    (
        "earnings.PayoutDestinationBody",
        rewrite::<PayoutDestinationBody>,
    ),
    ("evidence.ProofRequest", rewrite::<ProofRequest>),
    ("evidence.SealedParams", rewrite::<SealedParams>),
    ("nodes.RegisterBody", rewrite::<RegisterBody>),
    ("passkeys.NewPasskey", rewrite::<NewPasskey>),
    ("passkeys.PasskeyAnswer", rewrite::<PasskeyAnswer>),
    ("passkeys.PasskeyLogin", rewrite::<PasskeyLogin>),
    ("passkeys.PasskeyName", rewrite::<PasskeyName>),
    ("second_factor.Confirm", rewrite::<Confirm>),
    ("second_factor.LoginCode", rewrite::<LoginCode>),
    ("second_factor.Proven", rewrite::<Proven>),
    ("shares.ChangeShare", rewrite::<ChangeShare>),
    ("shares.NewShare", rewrite::<NewShare>),
    ("shares.UnlockShare", rewrite::<UnlockShare>),
    ("uploads.CompleteBody", rewrite::<CompleteBody>),
    ("uploads.InitiateBody", rewrite::<InitiateBody>),
];

fn example(name: &str) -> String {
    fs::read_to_string(format!("{DIR}/{name}.json"))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The same with a member in every object that nobody knows yet. `cause`, `metadata` and `options` are free in their form.
fn with_more(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let known = members.into_iter().map(|(name, value)| {
                let value = if matches!(name.as_str(), "cause" | "metadata" | "options") {
                    value
                } else {
                    with_more(value)
                };
                (name, value)
            });
            let new = ("of_a_newer_version".to_owned(), json!([{"any": "thing"}]));
            Value::Object(known.chain([new]).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(with_more).collect()),
        other => other,
    }
}

#[test]
fn every_body_is_written_as_it_was_read() {
    for (name, rewrite) in ANSWERS.iter().chain(REQUESTS) {
        let example = example(name);
        let written = rewrite(&example).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(written, example.trim_end(), "{name}");
    }
}

#[test]
fn every_example_is_used() {
    let files = fs::read_dir(DIR).unwrap().map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".json").unwrap().to_owned()
    });
    let bodies = ANSWERS.iter().chain(REQUESTS);
    let bodies: BTreeSet<_> = bodies.map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files.collect::<BTreeSet<_>>(), bodies);
}

#[test]
fn a_client_passes_over_what_a_newer_coordinator_adds() {
    for (name, rewrite) in ANSWERS {
        let example = example(name);
        let more = with_more(serde_json::from_str(&example).unwrap()).to_string();
        let written = rewrite(&more).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(written, example.trim_end(), "{name}");
    }
}

#[test]
fn a_client_takes_what_is_null_or_left_out_for_the_same() {
    for (name, rewrite) in ANSWERS {
        let example = example(name);
        let Value::Object(mut members) = serde_json::from_str(&example).unwrap() else {
            panic!("{name} is an object");
        };
        members.retain(|_, value| !value.is_null());
        let written = rewrite(&Value::Object(members).to_string());
        assert_eq!(written.unwrap(), example.trim_end(), "{name}");
    }
}

/// What a request does not know it refuses: a misspelt member would otherwise be left out in silence.
#[test]
fn a_request_is_refused_for_a_member_too_many_or_too_few() {
    for (name, rewrite) in REQUESTS {
        let more = with_more(serde_json::from_str(&example(name)).unwrap()).to_string();
        assert!(rewrite(&more).is_err(), "{name}");
    }
    for (name, rewrite) in REQUESTS {
        let needed: &[&str] = match *name {
            "access_keys.NewAccessKey" => &["name", "scopes"],
            "auth.AddressToken" => &["token"],
            "auth.Credentials" => &["email", "password"],
            "passkeys.NewPasskey" => &["name", "challenge", "credential"],
            "passkeys.PasskeyAnswer" => &["challenge", "credential"],
            "passkeys.PasskeyName" => &["name"],
            "auth.NewPassword" => &["current_password", "new_password"],
            "auth.PasswordReset" => &["token", "new_password"],
            "auth.RefreshToken" => &["refresh_token"],
            "auth.ResetRequest" => &["email"],
            "buckets.CopyBody" => &["key", "to"],
            "buckets.NewBucket" => &["name"],
            "buckets.ObjectTarget" => &["key"],
            "buckets.RestoreBody" => &["key", "version"],
            "credits.PurchaseBody" => &["amount_usd"],
            "evidence.SealedParams" => &["index", "node"],
            "nodes.RegisterBody" => &["peer_id", "name", "capacity_bytes", "nonce", "signature"],
            "second_factor.Confirm" => &["code"],
            "second_factor.LoginCode" => &["challenge", "code"],
            "shares.UnlockShare" => &["password"],
            "uploads.InitiateBody" => &["size_bytes"],
            _ => &[],
        };
        let whole: Value = serde_json::from_str(&example(name)).unwrap();
        for member in whole.as_object().unwrap().keys() {
            let mut rest = whole.clone();
            rest.as_object_mut().unwrap().remove(member);
            let refused = rewrite(&rest.to_string()).is_err();
            assert_eq!(
                refused,
                needed.contains(&member.as_str()),
                "{name}: {member}"
            );
        }
    }
}

#[test]
fn what_a_request_leaves_out_is_not_sent() {
    let bare = [
        json!(PayoutBody::default()),
        json!(ProofRequest::default()),
        json!(api::page::PageParams::default()),
        json!(api::files::ListParams::default()),
        json!(api::uploads::StatusParams::default()),
        json!(api::uploads::UploadParams::default()),
        json!(CompleteBody::default()),
        json!(api::buckets::BucketChange::default()),
        json!(api::buckets::ObjectsParams::default()),
        json!(api::buckets::ObjectParams::default()),
        json!(api::buckets::ChangesParams::default()),
    ];
    for request in bare {
        assert_eq!(request, json!({}));
    }
}

#[test]
fn an_amount_of_money_keeps_its_digits_and_may_be_text() {
    let amount = |json: &str| {
        let body: PurchaseBody = serde_json::from_str(json).unwrap();
        body.amount_usd.as_str().to_owned()
    };
    assert_eq!(amount(r#"{"amount_usd": 10}"#), "10");
    assert_eq!(amount(r#"{"amount_usd": 0.10}"#), "0.10");
    assert_eq!(amount(r#"{"amount_usd": "9.99"}"#), "9.99");
    assert_eq!(amount(r#"{"amount_usd": null}"#), "null");
    let ten = PurchaseBody {
        amount_usd: 10.into(),
    };
    assert_eq!(serde_json::to_string(&ten).unwrap(), r#"{"amount_usd":10}"#);
    let odd: PurchaseBody = serde_json::from_str(r#"{"amount_usd":"ten"}"#).unwrap();
    assert_eq!(
        serde_json::to_string(&odd).unwrap(),
        r#"{"amount_usd":"ten"}"#
    );
}

#[test]
fn a_file_is_cut_where_the_coordinator_expects_it() {
    let upload: Initiated = serde_json::from_str(&example("uploads.Initiated")).unwrap();
    let upload = Initiated {
        chunk_size_bytes: 10,
        chunk_count: 3,
        ..upload
    };
    let cut: Vec<_> = upload
        .indices()
        .map(|index| upload.chunk_range(index, 25))
        .collect();
    assert_eq!(cut, [0..10, 10..20, 20..25]);
    assert!(upload.chunk_range(3, 25).is_empty());
}

#[test]
fn bodies_of_strangers_are_read_or_refused_and_what_was_read_is_written_as_it_was() {
    let bodies = || ANSWERS.iter().chain(REQUESTS);
    let sound = bodies().map(|(name, _)| example(name).into_bytes());
    let crate_dir = env!("CARGO_MANIFEST_DIR");
    hostile::attack(crate_dir, "bodies", sound, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        for (name, rewrite) in bodies() {
            if let Ok(once) = rewrite(&text) {
                assert_eq!(rewrite(&once).ok(), Some(once), "{name}");
            }
        }
    });
}
