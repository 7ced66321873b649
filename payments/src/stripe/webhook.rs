//! Webhooks: whether one is Stripe's (<https://docs.stripe.com/webhooks/signature>), and what it is about.
//!
//! `Stripe-Signature: t=1700000000,v1=5257a8…,v1=…`: each `v1` is HMAC-SHA256, under the endpoint's secret, of the time, a
//! point and the body byte for byte. While a secret is being replaced there are several; one that fits is enough.

use std::collections::HashMap;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::Sha256;

use super::objects::{self, PAYOUT, PURCHASE};
use crate::{Notice, WebhookError};

/// How old a signature may be, and how far ahead of this clock: so an old request cannot be sent once more.
const TOLERANCE_SECONDS: i64 = 300;
/// Signatures that are looked at.
const MOST_SIGNATURES: usize = 16;

fn mac(secret: &str, seconds: i64, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    Some(mac)
}

/// The header that Stripe would send with this body: for whoever plays Stripe.
pub fn sign_webhook(secret: &str, at: Timestamp, body: &[u8]) -> String {
    let seconds = at.as_second();
    let signature = mac(secret, seconds, body).map(|mac| hex::encode(mac.finalize().into_bytes()));
    format!("t={seconds},v1={}", signature.unwrap_or_default())
}

pub(super) fn verify(
    header: &str,
    body: &[u8],
    secret: &str,
    now: Timestamp,
) -> Result<(), WebhookError> {
    let mut seconds: Option<i64> = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", text)) if seconds.is_none() => seconds = text.parse().ok(),
            Some(("v1", text)) if signatures.len() < MOST_SIGNATURES => {
                signatures.extend(hex::decode(text));
            }
            _ => {}
        }
    }
    let seconds = seconds.ok_or(WebhookError::BadHeader)?;
    let mac = mac(secret, seconds, body).ok_or(WebhookError::BadHeader)?;
    let fits = |signature: &Vec<u8>| mac.clone().verify_slice(signature).is_ok();
    if !signatures.iter().any(fits) {
        return Err(WebhookError::Forged);
    }
    // Only now: the time is part of what was signed.
    let age = now.as_second().saturating_sub(seconds);
    if age.saturating_abs() > TOLERANCE_SECONDS {
        return Err(WebhookError::TooOld { seconds: age });
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    object: Object,
}

/// What objects of all kinds have.
#[derive(Debug, Deserialize)]
struct Object {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    payment_intent: Option<serde_json::Value>,
    #[serde(default)]
    metadata: Option<HashMap<String, String>>,
}

/// Events of kinds that mean nothing here, and objects that cannot be named, are [`Notice::Other`]: Stripe sends what its
/// settings say, and would send again what is refused.
pub(super) fn notice(body: &[u8]) -> Result<Notice, WebhookError> {
    let event: Event = serde_json::from_slice(body).map_err(WebhookError::BadBody)?;
    let object = event.data.object;
    let named = |name: Option<&str>| {
        let name = name.and_then(|name| objects::checked(name).ok());
        name.map(str::to_owned)
    };
    let Some(name) = named(object.id.as_deref()) else {
        return Ok(Notice::Other);
    };
    let metadata = object.metadata.unwrap_or_default();
    let of = |family: &str| event.kind.starts_with(family);
    if of("payment_intent.") {
        let order = objects::carried(&metadata, PURCHASE);
        return Ok(Notice::Payment { name, order });
    }
    if of("transfer.") {
        let order = objects::carried(&metadata, PAYOUT);
        return Ok(Notice::Transfer { name, order });
    }
    if of("charge.dispute.") || of("refund.") || of("charge.refund.") {
        let payment = object.payment_intent.as_ref();
        let payment = named(payment.and_then(serde_json::Value::as_str));
        return Ok(payment.map_or(Notice::Other, |payment| Notice::Dispute { name, payment }));
    }
    Ok(Notice::Other)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1","object":"event"}"#;
    /// Of the body above, with `whsec_test`, at 1700000000: worked out with Python's hmac.
    const KNOWN: &str = "4c15fb2a43f93ef61eaa3e0893866d57cad9cad4223242cfb96f362480cb4021";
    const SECRET: &str = "whsec_test";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn verified(header: &str, now: i64) -> Result<(), WebhookError> {
        verify(header, BODY, SECRET, at(now))
    }

    #[test]
    fn a_signature_is_the_hmac_of_time_and_body() {
        let header = sign_webhook(SECRET, at(1_700_000_000), BODY);
        assert_eq!(header, format!("t=1700000000,v1={KNOWN}"));
        verified(&header, 1_700_000_000).unwrap();
        let among = format!("t=1700000000,v0=aa,v1=00,v1=nohex, v1={KNOWN}");
        verified(&among, 1_700_000_000).unwrap();
    }

    #[test]
    fn whatever_is_not_signed_like_this_is_refused() {
        let altered = verify(
            &format!("t=1700000000,v1={KNOWN}"),
            b"{}",
            SECRET,
            at(1_700_000_000),
        );
        assert!(matches!(altered, Err(WebhookError::Forged)));
        let later = format!("t=1700000001,v1={KNOWN}");
        assert!(matches!(
            verified(&later, 1_700_000_001),
            Err(WebhookError::Forged)
        ));
        for header in ["", "v1=", "t=,v1=", "t=x,v1=00", "t=1700000000"] {
            assert!(verified(header, 1_700_000_000).is_err(), "{header}");
        }
        let other = sign_webhook("whsec_other", at(1_700_000_000), BODY);
        assert!(verified(&other, 1_700_000_000).is_err());
    }

    #[test]
    fn a_signature_is_good_for_five_minutes() {
        let header = format!("t=1700000000,v1={KNOWN}");
        for near in [-300, 0, 300] {
            verified(&header, 1_700_000_000 + near).unwrap();
        }
        for far in [-301, 301, i64::from(i32::MAX)] {
            let late = verified(&header, 1_700_000_000 + far);
            assert!(matches!(late, Err(WebhookError::TooOld { .. })), "{far}");
        }
    }

    #[test]
    fn an_event_says_what_to_look_at() {
        let of = |kind: &str, object: serde_json::Value| {
            notice(
                json!({"id": "evt_1", "type": kind, "data": {"object": object}})
                    .to_string()
                    .as_bytes(),
            )
            .unwrap()
        };
        let order = Uuid::from_u128(5);
        let metadata = json!({"purchase_id": order, "payout_id": order});
        assert_eq!(
            of(
                "payment_intent.succeeded",
                json!({"id": "pi_1", "metadata": metadata})
            ),
            Notice::Payment {
                name: "pi_1".to_owned(),
                order: Some(order)
            }
        );
        assert_eq!(
            of(
                "transfer.reversed",
                json!({"id": "tr_1", "metadata": metadata})
            ),
            Notice::Transfer {
                name: "tr_1".to_owned(),
                order: Some(order)
            }
        );
        assert_eq!(
            of(
                "charge.dispute.created",
                json!({"id": "dp_1", "payment_intent": "pi_1", "metadata": {}})
            ),
            Notice::Dispute {
                name: "dp_1".to_owned(),
                payment: "pi_1".to_owned()
            }
        );
        for (kind, object) in [
            ("charge.dispute.created", json!({"id": "dp_1"})),
            ("payment_intent.succeeded", json!({"id": "../pi"})),
            ("payment_intent.succeeded", json!({})),
            ("customer.created", json!({"id": "cus_1"})),
        ] {
            assert_eq!(of(kind, object), Notice::Other, "{kind}");
        }
        assert!(notice(b"[]").is_err());
    }

    #[test]
    fn tampered_webhooks_are_refused_and_nothing_panics() {
        let body = json!({"id": "evt_1", "type": "charge.dispute.created",
            "data": {"object": {"id": "dp_1", "payment_intent": "pi_1", "metadata": {"purchase_id": "x"}}}});
        let crate_dir = env!("CARGO_MANIFEST_DIR");
        let sound = [body.to_string().into_bytes()];
        hostile::attack(crate_dir, "webhook-bodies", sound, |input| {
            let _ = notice(input);
        });
        let sound = [sign_webhook(SECRET, at(1_700_000_000), BODY).into_bytes()];
        hostile::attack(crate_dir, "webhook-signatures", sound, |input| {
            if let Ok(header) = std::str::from_utf8(input) {
                let _ = verified(header, 1_700_000_000);
            }
        });
    }
}
