//! A provider that pretends: every payment is paid at once, every transfer arrives, and no money moves anywhere. For networks
//! that are tried out. It keeps nothing, since its names say all that there is to say: the same order gives the same
//! answer, and an answer can be looked up by its name.

use futures::FutureExt;
use futures::future::ready;
use jiff::Timestamp;
use model::money::UsdCents;
use model::payment::{PaymentStanding, TransferStanding};
use uuid::Uuid;

use crate::{
    Asked, Destination, DestinationOrder, Dispute, Notice, Payment, PaymentOrder, Provider,
    ProviderError, ProviderName, Transfer, TransferOrder, WebhookError,
};

#[derive(Debug, Clone, Copy, Default)]
pub struct Mock;

const PAYMENT: &str = "mock_payment";
const TRANSFER: &str = "mock_transfer";
const DESTINATION: &str = "mock_destination";

/// `mock_payment_<order>_<cents>`
fn named(kind: &str, order: Uuid, amount: UsdCents) -> String {
    format!("{kind}_{}_{}", order.simple(), amount.get())
}

/// What such a name says.
fn read(kind: &str, name: &str) -> Result<(Uuid, UsdCents), ProviderError> {
    let said = name
        .strip_prefix(kind)
        .and_then(|rest| rest.strip_prefix('_'));
    let said = said.and_then(|rest| rest.split_once('_'));
    let said = said.and_then(|(order, cents)| Some((order.parse().ok()?, cents.parse().ok()?)));
    said.map(|(order, cents)| (order, UsdCents::new(cents)))
        .ok_or_else(|| ProviderError::Refused {
            reason: format!("the mock provider has given no such name as {name}"),
        })
}

fn payment(name: String, (order, amount): (Uuid, UsdCents)) -> Payment {
    Payment {
        name,
        order: Some(order),
        standing: PaymentStanding::Paid,
        received: amount,
        client_secret: None,
        reason: None,
    }
}

fn transfer(name: String, (order, amount): (Uuid, UsdCents)) -> Transfer {
    Transfer {
        name,
        order: Some(order),
        standing: TransferStanding::Paid,
        amount,
    }
}

fn at_once<'a, T: Send + 'a>(answer: Result<T, ProviderError>) -> Asked<'a, T> {
    ready(answer).boxed()
}

impl Provider for Mock {
    fn name(&self) -> ProviderName {
        ProviderName::Mock
    }

    fn moves_money(&self) -> bool {
        false
    }

    fn create_payment<'a>(&'a self, order: &'a PaymentOrder) -> Asked<'a, Payment> {
        let name = named(PAYMENT, order.id, order.amount);
        at_once(Ok(payment(name, (order.id, order.amount))))
    }

    fn fetch_payment<'a>(&'a self, name: &'a str) -> Asked<'a, Payment> {
        at_once(read(PAYMENT, name).map(|said| payment(name.to_owned(), said)))
    }

    fn cancel_payment<'a>(&'a self, name: &'a str) -> Asked<'a, Payment> {
        self.fetch_payment(name)
    }

    fn create_transfer<'a>(&'a self, order: &'a TransferOrder) -> Asked<'a, Transfer> {
        let name = named(TRANSFER, order.id, order.amount);
        at_once(Ok(transfer(name, (order.id, order.amount))))
    }

    fn find_transfer<'a>(&'a self, _: &'a TransferOrder) -> Asked<'a, Option<Transfer>> {
        at_once(Ok(None))
    }

    fn fetch_transfer<'a>(&'a self, name: &'a str) -> Asked<'a, Transfer> {
        at_once(read(TRANSFER, name).map(|said| transfer(name.to_owned(), said)))
    }

    fn fetch_dispute<'a>(&'a self, _: &'a str) -> Asked<'a, Dispute> {
        at_once(Err(ProviderError::Refused {
            reason: "the mock provider has no disputes".to_owned(),
        }))
    }

    fn recent_disputes(&self) -> Asked<'_, Vec<Dispute>> {
        at_once(Ok(Vec::new()))
    }

    fn create_destination<'a>(&'a self, order: &'a DestinationOrder) -> Asked<'a, Destination> {
        at_once(Ok(Destination {
            name: format!("{DESTINATION}_{}", order.id.simple()),
            ready: true,
        }))
    }

    fn fetch_destination<'a>(&'a self, name: &'a str) -> Asked<'a, Destination> {
        at_once(Ok(Destination {
            name: name.to_owned(),
            ready: name.starts_with(DESTINATION),
        }))
    }

    fn onboarding_page<'a>(&'a self, _: &'a str) -> Asked<'a, Option<String>> {
        at_once(Ok(None))
    }

    fn signature_header(&self) -> &'static str {
        "x-mock-signature"
    }

    fn notice(&self, _: Option<&str>, _: &[u8], _: Timestamp) -> Result<Notice, WebhookError> {
        Err(WebhookError::NotServed)
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn the_same_order_gives_the_same_payment_and_its_name_says_what_it_was() {
        let order = PaymentOrder {
            id: Uuid::from_u128(7),
            key: "key".to_owned(),
            amount: UsdCents::new(1999),
        };
        let made = block_on(Mock.create_payment(&order)).unwrap();
        assert_eq!(block_on(Mock.create_payment(&order)).unwrap(), made);
        assert_eq!(block_on(Mock.fetch_payment(&made.name)).unwrap(), made);
        assert_eq!((made.order, made.received), (Some(order.id), order.amount));
        assert!(block_on(Mock.fetch_payment("pi_1")).is_err());
        assert!(block_on(Mock.fetch_transfer(&made.name)).is_err());
    }

    #[test]
    fn it_believes_no_webhook() {
        let refused = Mock.notice(Some("t=0,v1=00"), b"{}", Timestamp::UNIX_EPOCH);
        assert!(matches!(refused, Err(WebhookError::NotServed)));
    }
}
