//! Kinds of problems: each has one name, docs/api.md has them all, and a client loses none that it does not
//! know.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use api::problem::{Problem, ProblemKind};
use serde_json::json;

const DOCS: &str = include_str!("../../docs/api.md");

/// Of each slug in the table of docs/api.md: status, and what to do.
fn documented() -> BTreeMap<String, (u16, String)> {
    let head = "| `type`, behind `urn:fsn:problem:` | status | what to do |";
    let (_, table) = DOCS.split_once(head).unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut found = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row
            .trim_matches('|')
            .splitn(3, '|')
            .map(str::trim)
            .collect();
        let [slugs, status, next] = cells[..] else {
            panic!("{row}");
        };
        for slug in slugs.split(',') {
            let slug = slug.trim().trim_matches('`').to_owned();
            let told = (status.parse().unwrap(), next.to_owned());
            assert!(found.insert(slug, told).is_none(), "twice: {row}");
        }
    }
    found
}

#[test]
fn the_documentation_tells_every_kind_its_status_and_what_to_do() {
    let kinds = ProblemKind::ALL.iter().map(|kind| {
        let told = (kind.status(), kind.next_step().to_owned());
        (kind.slug().to_owned(), told)
    });
    assert_eq!(documented(), kinds.collect());
}

#[test]
fn kinds_are_unique_and_found_by_their_uri() {
    let slugs: BTreeSet<_> = ProblemKind::ALL.iter().map(|kind| kind.slug()).collect();
    assert_eq!(slugs.len(), ProblemKind::ALL.len());
    for kind in ProblemKind::ALL {
        assert_eq!(kind.uri(), format!("urn:fsn:problem:{}", kind.slug()));
        assert_eq!(ProblemKind::of_uri(&kind.uri()), Some(*kind));
        assert!((400..600).contains(&kind.status()), "{kind:?}");
        let slug = kind.slug().bytes();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
        assert!(slug.into_iter().all(plain), "{kind:?}");
    }
    assert_eq!(ProblemKind::NotFound.title(), "Not found");
    assert_eq!(ProblemKind::of_uri("not-found"), None);
    assert_eq!(ProblemKind::of_uri("urn:fsn:problem:"), None);
}

#[test]
fn a_kind_that_a_client_does_not_know_is_kept_as_it_came() {
    let newer = json!({"type": "urn:fsn:problem:moon-phase", "title": "Moon phase", "status": 418,
        "detail": "Wait for the full moon.", "instance": "/api/v1/files", "request_id": "7",
        "limit": "of another type than today", "phase": 0.5});
    let problem = Problem::of_answer(418, newer.to_string().as_bytes());
    assert_eq!(problem.kind(), None);
    assert_eq!(problem.uri, "urn:fsn:problem:moon-phase");
    assert_eq!(problem.detail, "Wait for the full moon.");
    let written = json!(problem);
    assert_eq!(written["type"], newer["type"]);
    let parsed: Problem = serde_json::from_value(newer).unwrap();
    assert_eq!(parsed, problem);
}

#[test]
fn an_answer_that_is_no_problem_document_still_has_its_status() {
    for body in [
        "",
        "<html>Bad gateway</html>",
        "[]",
        "null",
        r#"{"detail": 7}"#,
    ] {
        let problem = Problem::of_answer(502, body.as_bytes());
        assert_eq!((problem.status, problem.uri.as_str()), (502, "about:blank"));
        assert_eq!(problem.kind(), None);
        assert!(problem.detail.is_empty() && problem.title.is_empty());
    }
}
