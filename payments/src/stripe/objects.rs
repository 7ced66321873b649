//! Stripe's objects, as far as they are read here, and what they mean.

use std::collections::HashMap;

use model::money::UsdCents;
use model::payment::{DisputeStanding, PaymentStanding, TransferStanding};
use serde::Deserialize;
use uuid::Uuid;

use crate::{ClientSecret, Destination, Dispute, Payment, ProviderError, Transfer};

/// Credits are sold for US dollars.
pub(super) const CURRENCY: &str = "usd";

/// Under which a payment carries its purchase.
pub(super) const PURCHASE: &str = "purchase_id";
/// Under which a transfer carries its payout.
pub(super) const PAYOUT: &str = "payout_id";

/// What transfers of one payout have in common; they can be listed by it.
pub(super) fn group_of(payout: Uuid) -> String {
    format!("payout_{}", payout.simple())
}

/// Where an object is. Names come from outside, and nothing but a name may go into a path.
pub(super) fn path(of: &str, name: &str) -> Result<String, ProviderError> {
    Ok(format!("{of}/{}", checked(name)?))
}

pub(super) fn checked(name: &str) -> Result<&str, ProviderError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_name = (1..=255).contains(&name.len()) && name.bytes().all(plain);
    is_name.then_some(name).ok_or_else(|| {
        ProviderError::unexpected("a name that is not made of letters, digits and _")
    })
}

fn in_dollars(currency: &str) -> Result<(), ProviderError> {
    if currency == CURRENCY {
        return Ok(());
    }
    let other: String = currency.chars().take(8).collect();
    Err(ProviderError::unexpected(format!(
        "an amount in {other} in place of {CURRENCY}"
    )))
}

/// The id that metadata carries under this name.
pub(super) fn carried(metadata: &HashMap<String, String>, name: &str) -> Option<Uuid> {
    metadata.get(name)?.parse().ok()
}

#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    pub data: Vec<T>,
}

/// A PaymentIntent.
#[derive(Debug, Deserialize)]
pub(super) struct Intent {
    id: String,
    status: String,
    currency: String,
    #[serde(default)]
    amount_received: u64,
    #[serde(default)]
    client_secret: Option<String>,
    #[serde(default)]
    metadata: HashMap<String, String>,
    #[serde(default)]
    last_payment_error: Option<Message>,
    #[serde(default)]
    cancellation_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    message: Option<String>,
}

impl Intent {
    pub(super) fn payment(self) -> Result<Payment, ProviderError> {
        in_dollars(&self.currency)?;
        // A card that was declined is no end: the customer may take another one.
        let standing = match self.status.as_str() {
            "succeeded" => PaymentStanding::Paid,
            "canceled" => PaymentStanding::Failed,
            _ => PaymentStanding::Open,
        };
        let said = self.last_payment_error.and_then(|error| error.message);
        Ok(Payment {
            order: carried(&self.metadata, PURCHASE),
            name: checked(&self.id)?.to_owned(),
            standing,
            received: UsdCents::new(self.amount_received),
            client_secret: self.client_secret.map(ClientSecret),
            reason: said.or(self.cancellation_reason),
        })
    }
}

/// A transfer to a connected account.
#[derive(Debug, Deserialize)]
pub(super) struct StripeTransfer {
    id: String,
    amount: u64,
    currency: String,
    #[serde(default)]
    amount_reversed: u64,
    #[serde(default)]
    metadata: HashMap<String, String>,
}

impl StripeTransfer {
    pub(super) fn transfer(&self) -> Result<Transfer, ProviderError> {
        in_dollars(&self.currency)?;
        let returned = self.amount_reversed >= self.amount && self.amount > 0;
        if !returned && self.amount_reversed > 0 {
            tracing::error!(
                transfer = self.id,
                cents = self.amount_reversed,
                "part of a transfer was reversed: the books still have all of it as paid out"
            );
        }
        Ok(Transfer {
            order: carried(&self.metadata, PAYOUT),
            name: checked(&self.id)?.to_owned(),
            standing: match returned {
                true => TransferStanding::Returned,
                false => TransferStanding::Paid,
            },
            amount: UsdCents::new(self.amount),
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct StripeDispute {
    id: String,
    amount: u64,
    currency: String,
    status: String,
    #[serde(default)]
    payment_intent: Option<String>,
}

impl StripeDispute {
    pub(super) fn dispute(&self) -> Result<Dispute, ProviderError> {
        in_dollars(&self.currency)?;
        let standing = match self.status.as_str() {
            "warning_needs_response" | "warning_under_review" => DisputeStanding::Inquiry,
            "needs_response" | "under_review" => DisputeStanding::Withdrawn,
            "won" | "warning_closed" => DisputeStanding::Won,
            // Prevented is one that the operator's own rules have settled in the customer's favour.
            "lost" | "prevented" => DisputeStanding::Lost,
            other => {
                let other: String = other.chars().take(40).collect();
                let what = format!("a dispute that is {other}");
                return Err(ProviderError::unexpected(what));
            }
        };
        Ok(Dispute {
            name: checked(&self.id)?.to_owned(),
            payment: self.payment_intent.clone(),
            standing,
            amount: UsdCents::new(self.amount),
            is_refund: false,
        })
    }
}

/// What an operator pays back on Stripe's own pages.
#[derive(Debug, Deserialize)]
pub(super) struct StripeRefund {
    id: String,
    amount: u64,
    currency: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    payment_intent: Option<String>,
}

impl StripeRefund {
    /// Whether a name is of one.
    pub(super) fn is_named(name: &str) -> bool {
        name.starts_with("re_") || name.starts_with("pyr_")
    }

    /// Money on its way back is gone from here; one that fails comes back.
    pub(super) fn refund(&self) -> Result<Dispute, ProviderError> {
        in_dollars(&self.currency)?;
        let standing = match self.status.as_deref() {
            None | Some("pending" | "requires_action") => DisputeStanding::Withdrawn,
            Some("succeeded") => DisputeStanding::Lost,
            Some("failed" | "canceled") => DisputeStanding::Won,
            Some(other) => {
                let other: String = other.chars().take(40).collect();
                let what = format!("a refund that is {other}");
                return Err(ProviderError::unexpected(what));
            }
        };
        Ok(Dispute {
            name: checked(&self.id)?.to_owned(),
            payment: self.payment_intent.clone(),
            standing,
            amount: UsdCents::new(self.amount),
            is_refund: true,
        })
    }
}

/// A connected account.
#[derive(Debug, Deserialize)]
pub(super) struct Account {
    id: String,
    #[serde(default)]
    capabilities: Capabilities,
}

#[derive(Debug, Default, Deserialize)]
struct Capabilities {
    #[serde(default)]
    transfers: Option<String>,
}

impl Account {
    pub(super) fn destination(&self) -> Result<Destination, ProviderError> {
        Ok(Destination {
            name: checked(&self.id)?.to_owned(),
            ready: self.capabilities.transfers.as_deref() == Some("active"),
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct AccountLink {
    pub url: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn intent(changed: Value) -> Result<Payment, ProviderError> {
        let mut intent = json!({"id": "pi_1", "object": "payment_intent", "status": "succeeded", "currency": "usd",
            "amount": 1000, "amount_received": 1000, "client_secret": "pi_1_secret_2", "livemode": false,
            "metadata": {"purchase_id": "01938a4f-7b2c-7d3e-8f90-a1b2c3d4e5f6"}});
        let members = changed.as_object().unwrap().clone();
        intent.as_object_mut().unwrap().extend(members);
        serde_json::from_value::<Intent>(intent).unwrap().payment()
    }

    #[test]
    fn a_declined_card_is_no_end_and_a_cancelled_payment_is() {
        let standing = |status: &str| intent(json!({"status": status})).unwrap().standing;
        for open in [
            "requires_payment_method",
            "requires_confirmation",
            "requires_action",
            "processing",
            "requires_capture",
            "of_a_later_version",
        ] {
            assert_eq!(standing(open), PaymentStanding::Open, "{open}");
        }
        assert_eq!(standing("succeeded"), PaymentStanding::Paid);
        assert_eq!(standing("canceled"), PaymentStanding::Failed);
    }

    #[test]
    fn amounts_are_dollars_and_names_fit_into_a_path() {
        assert!(intent(json!({"currency": "jpy"})).is_err());
        for name in ["", "../v1/balance", "pi 1", "pi_1?x=y", "pi_ü"] {
            assert!(intent(json!({"id": name})).is_err(), "{name}");
        }
    }

    #[test]
    fn what_completes_a_payment_is_not_written_anywhere() {
        let payment = intent(json!({})).unwrap();
        assert!(!format!("{payment:?}").contains("secret_2"));
    }

    #[test]
    fn a_dispute_without_money_moved_is_told_from_one_with_it() {
        let standing = |status: &str| {
            let dispute = json!({"id": "dp_1", "amount": 5, "currency": "usd", "status": status,
                "payment_intent": "pi_1"});
            let dispute: StripeDispute = serde_json::from_value(dispute).unwrap();
            dispute.dispute().map(|dispute| dispute.standing)
        };
        assert_eq!(
            standing("warning_needs_response").unwrap(),
            DisputeStanding::Inquiry
        );
        assert_eq!(
            standing("needs_response").unwrap(),
            DisputeStanding::Withdrawn
        );
        assert_eq!(standing("won").unwrap(), DisputeStanding::Won);
        assert_eq!(standing("lost").unwrap(), DisputeStanding::Lost);
        assert!(standing("of_a_later_version").is_err());
    }

    #[test]
    fn a_transfer_came_back_when_all_of_it_did() {
        let standing = |reversed: u64| {
            let transfer = json!({"id": "tr_1", "amount": 100, "currency": "usd", "amount_reversed": reversed});
            let transfer: StripeTransfer = serde_json::from_value(transfer).unwrap();
            transfer.transfer().unwrap().standing
        };
        assert_eq!(standing(0), TransferStanding::Paid);
        assert_eq!(standing(99), TransferStanding::Paid);
        assert_eq!(standing(100), TransferStanding::Returned);
    }
}
