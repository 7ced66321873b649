//! Routes are there once, and what clients ask for is one of them.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use api::paths;
use proto::{ChallengeId, FileId, NodeId, UploadId};

#[test]
fn routes_are_unique_and_lie_under_the_version_but_for_the_probes() {
    let unique: BTreeSet<_> = paths::ALL.into_iter().collect();
    assert_eq!(unique.len(), paths::ALL.len());
    let outside: Vec<_> = paths::ALL
        .into_iter()
        .filter(|path| !path.starts_with("/api/v1/"))
        .collect();
    assert_eq!(outside, [paths::HEALTH, paths::LIVEZ, paths::READYZ]);
}

#[test]
fn every_route_with_an_id_can_be_asked_for() {
    const ID: &str = "01938a4f-7b2c-7d3e-8f90-a1b2c3d4e5f6";
    let file: FileId = ID.parse().unwrap();
    let upload: UploadId = ID.parse().unwrap();
    let node: NodeId = ID.parse().unwrap();
    let challenge = ID.parse::<ChallengeId>().unwrap();
    let sealed = paths::file_sealed(file, 0, node);
    let asked = [
        paths::session(ID.parse().unwrap()),
        paths::passkey(ID.parse().unwrap()),
        paths::purchase(ID),
        paths::file(file),
        paths::file_download(file),
        paths::file_durability(file),
        paths::file_receipts(file),
        paths::file_proof(file),
        sealed.split('?').next().unwrap().to_owned(),
        paths::upload(upload),
        paths::upload_chunk(upload),
        paths::upload_chunks(upload),
        paths::upload_complete(upload),
        paths::tus_upload(upload),
        paths::share(ID),
        paths::share_content(ID),
        paths::share_durability(ID),
        paths::share_unlock(ID),
        paths::node(node),
        paths::node_drain(node),
        paths::node_drain_plan(node),
        paths::node_earnings(node),
        paths::node_payouts(node),
        paths::node_proofs(node),
        paths::node_proof(node, challenge),
    ];
    let routes = paths::ALL.into_iter().filter(|path| path.contains("{id}"));
    let routes: BTreeSet<_> = routes
        .map(|route| route.replace("{id}", ID).replace("{challenge}", ID))
        .collect();
    assert_eq!(BTreeSet::from(asked), routes);
}

#[test]
fn a_key_of_any_letters_is_one_path() {
    for (key, path) in [
        ("a/b.txt", "a/b.txt"),
        ("a//b/", "a//b/"),
        ("/a", "/a"),
        ("a+b %41?#", "a%2Bb%20%2541%3F%23"),
        ("\u{e9}", "%C3%A9"),
        ("a/../b", "a%2F..%2Fb"),
        ("./a", ".%2Fa"),
        ("..a/b", "..a/b"),
    ] {
        assert_eq!(
            paths::object("bucket", key),
            format!("/api/v1/buckets/bucket/objects/{path}")
        );
    }
    assert_eq!(paths::bucket("a/b"), "/api/v1/buckets/a%2Fb");
}

#[test]
fn every_route_of_a_bucket_can_be_asked_for() {
    let asked = [
        paths::bucket("{bucket}"),
        paths::bucket_objects("{bucket}"),
        paths::object("{bucket}", "{key}"),
        paths::bucket_entry("{bucket}"),
        paths::bucket_copy("{bucket}"),
        paths::bucket_move("{bucket}"),
        paths::bucket_restore("{bucket}"),
        paths::bucket_changes("{bucket}"),
    ];
    let routes = paths::ALL.into_iter();
    let routes = routes.filter(|path| path.contains("{bucket}"));
    let encoded = |route: &str| route.replace('{', "%7B").replace('}', "%7D");
    let routes: BTreeSet<_> = routes.map(encoded).collect();
    assert_eq!(BTreeSet::from(asked), routes);
}
