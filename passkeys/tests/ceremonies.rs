//! What a site asks and what an authenticator answers, from the one to the other.
#![allow(clippy::unwrap_used)]

use passkeys::authenticator::{Authenticator, Unable};
use passkeys::{Made, NotASite, Refused, Site, claim};
use serde_json::{Value, json};
use uuid::Uuid;

const URL: &str = "https://storage.example.com";
const SITE: &str = "storage.example.com";

fn site() -> Site {
    Site::at(URL).unwrap()
}

fn made(authenticator: &mut Authenticator) -> Made {
    let begun = site().register(Uuid::from_u128(7), "a@example.com", &[]);
    let begun = begun.unwrap();
    let answer = authenticator.create(&begun.options).unwrap();
    site().registered(&begun.state, &answer).unwrap()
}

#[test]
fn a_site_is_a_name_over_https_or_localhost() {
    for url in [URL, "https://a.example:8443/", "http://localhost:8080"] {
        assert!(Site::at(url).is_ok(), "{url}");
    }
    for url in [
        "",
        "storage",
        "http://storage.example.com",
        "https://192.0.2.1",
        "https://[::1]:1",
    ] {
        assert_eq!(Site::at(url).unwrap_err(), NotASite, "{url}");
    }
}

#[test]
fn a_passkey_that_was_made_is_found_by_the_site_alone_and_checked() {
    let mut authenticator = Authenticator::new(URL, SITE);
    let Made {
        credential_id,
        passkey,
    } = made(&mut authenticator);
    let asked = site().ask(&[]).unwrap();
    let answer = authenticator.get(&asked.options).unwrap();
    let claimed = claim(&answer).unwrap();
    assert_eq!(claimed.credential_id, credential_id);
    assert_eq!(claimed.user, Some(Uuid::from_u128(7)));
    let moved = site().check(&asked.state, &answer, &passkey).unwrap();
    assert!(moved.is_some(), "its counter has moved");
    // To another question it is no answer.
    let other = site().ask(&[]).unwrap();
    let refused = site().check(&other.state, &answer, &passkey);
    assert!(matches!(refused, Err(Refused::Webauthn(_))));
    // And an older one is none any more.
    let refused = site().check(&asked.state, &answer, &moved.unwrap());
    assert!(matches!(refused, Err(Refused::Webauthn(_))));
}

#[test]
fn a_passkey_answers_to_one_site_and_for_who_has_shown_himself() {
    let mut authenticator = Authenticator::new(URL, SITE);
    let Made {
        passkey,
        credential_id,
    } = made(&mut authenticator);
    let asked = site().ask(std::slice::from_ref(&credential_id)).unwrap();
    authenticator.verifies = false;
    let answer = authenticator.get(&asked.options).unwrap();
    assert!(site().check(&asked.state, &answer, &passkey).is_err());
    let elsewhere = Site::at("https://storage.example.org").unwrap();
    let asked = elsewhere.ask(&[]).unwrap();
    assert_eq!(authenticator.get(&asked.options), Err(Unable::Question));
    // A page elsewhere passes our question on: its browser says where it is.
    authenticator.verifies = true;
    authenticator.origin = "https://storage.example.org".to_owned();
    let asked = site().ask(&[]).unwrap();
    let answer = authenticator.get(&asked.options).unwrap();
    assert!(site().check(&asked.state, &answer, &passkey).is_err());
    let begun = site().register(Uuid::from_u128(8), "b", &[]).unwrap();
    let answer = authenticator.create(&begun.options).unwrap();
    assert!(site().registered(&begun.state, &answer).is_err());
    // An authenticator that has a key for the account makes no second one.
    let begun = site().register(Uuid::from_u128(7), "a", &[credential_id]);
    let refused = authenticator.create(&begun.unwrap().options);
    assert_eq!(refused, Err(Unable::Excluded));
}

#[test]
fn tampered_answers_are_refused_and_nothing_panics() {
    let mut authenticator = Authenticator::new(URL, SITE);
    let begun = site().register(Uuid::from_u128(7), "a", &[]).unwrap();
    let answer = authenticator.create(&begun.options).unwrap();
    let made = site().registered(&begun.state, &answer).unwrap();
    let asked = site().ask(&[]).unwrap();
    let shown = authenticator.get(&asked.options).unwrap();
    let sound = [&answer, &shown].map(|answer| answer.to_string().into_bytes());
    let (cases, crate_dir) = (hostile::cases_or(2_000), env!("CARGO_MANIFEST_DIR"));
    hostile::attack_with(cases, crate_dir, "answers", sound, |input| {
        let Ok(value) = serde_json::from_slice::<Value>(input) else {
            return;
        };
        let _ = site().registered(&begun.state, &value);
        let _ = claim(&value);
        if site().check(&asked.state, &value, &made.passkey).is_ok() {
            assert_eq!(
                value["response"]["signature"],
                shown["response"]["signature"]
            );
        }
    });
    for field in ["signature", "authenticatorData", "clientDataJSON"] {
        let mut tampered = shown.clone();
        tampered["response"][field] = json!("AAAA");
        assert!(
            site()
                .check(&asked.state, &tampered, &made.passkey)
                .is_err()
        );
    }
}
