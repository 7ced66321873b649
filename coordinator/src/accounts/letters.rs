//! Letters to the owners of accounts.
//!
//! Whoever asks for one is answered before anybody looks whether there is such an account: a task works through what was
//! asked for, so that neither the answer nor its time tells an address. What is asked for while the queue is full, or
//! waits when the program stops, is lost, and can be asked for again. Rejected: an outbox in the database. It would hold
//! tokens in the clear.

use std::sync::{Arc, Weak};
use std::time::Duration;

use api::paths::{RESET_PAGE, VERIFY_PAGE};
use mail::{Letter, Mailer, letters};
use model::ids::UserId;
use model::names::Email;
use tokio::sync::mpsc;

use super::tables::tokens::{self, Purpose};
use super::{Accounts, secrets, tables};

pub const RESET_GOOD_FOR: Duration = Duration::from_secs(3600);
pub const VERIFY_GOOD_FOR: Duration = Duration::from_secs(7 * 86_400);

/// Letters of one purpose that an account gets in an hour, whoever asks.
const PER_HOUR: i64 = 3;

/// What may wait; each is an address.
const QUEUE: usize = 1024;

/// What somebody asks to be written.
#[derive(Debug)]
pub enum Order {
    /// To whoever has forgotten the password of this address, if anybody has it.
    Reset(Email),
    Verify(UserId),
    /// That this has been changed.
    Changed(UserId, &'static str),
}

/// Where orders are handed in.
#[derive(Debug, Clone)]
pub struct Desk(mpsc::Sender<Order>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoLetter {
    #[error("this network sends no mail")]
    NoServer,
    #[error("too many letters wait to be sent")]
    Busy,
}

impl Desk {
    /// And what goes in there.
    pub fn open() -> (Self, mpsc::Receiver<Order>) {
        let (orders, received) = mpsc::channel(QUEUE);
        (Self(orders), received)
    }

    pub fn order(&self, order: Order) -> Result<(), NoLetter> {
        self.0.try_send(order).map_err(|_| NoLetter::Busy)
    }
}

impl Accounts {
    /// Has a letter written, where letters are written.
    pub fn order_letter(&self, order: Order) -> Result<(), NoLetter> {
        self.desk.as_ref().ok_or(NoLetter::NoServer)?.order(order)
    }
}

/// Writes and sends, one after the other, until the accounts are gone.
pub async fn write(accounts: Weak<Accounts>, mut orders: mpsc::Receiver<Order>, mailer: Mailer) {
    while let Some(order) = orders.recv().await {
        let Some(accounts) = accounts.upgrade() else {
            return;
        };
        match letter(&accounts, order).await {
            Ok(Some(letter)) => {
                if let Err(error) = mailer.deliver(&letter).await {
                    let error = anyhow::Error::from(error);
                    tracing::warn!(error = format!("{error:#}"), "a letter could not be sent");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a letter cannot be written"),
        }
    }
}

/// `None` when nobody is to get one.
async fn letter(accounts: &Arc<Accounts>, order: Order) -> sqlx::Result<Option<Letter>> {
    let mut connection = accounts.db.acquire().await?;
    let (user, purpose) = match order {
        Order::Reset(email) => {
            let known = tables::users::credentials(&mut connection, &email).await?;
            let Some((user, ..)) = known else {
                return Ok(None);
            };
            (user, Purpose::ResetPassword)
        }
        Order::Verify(user) => (user, Purpose::VerifyAddress),
        Order::Changed(user, what) => {
            let known = tables::users::by_id(&mut connection, user).await?;
            return Ok(known.map(|user| letters::changed(user.email, what)));
        }
    };
    let Some(owner) = tables::users::by_id(&mut connection, user).await? else {
        return Ok(None);
    };
    let (good_for, page) = match purpose {
        Purpose::ResetPassword => (RESET_GOOD_FOR, RESET_PAGE),
        Purpose::VerifyAddress => (VERIFY_GOOD_FOR, VERIFY_PAGE),
    };
    let token = secrets::generate("fsnl", &mut accounts.entropy.rng());
    let (hash, bound) = (secrets::hash(&token), (good_for, PER_HOUR));
    if !tokens::insert(&mut connection, &hash, user, purpose, true, bound).await? {
        return Ok(None);
    }
    let link = letters::link(&accounts.public_url, page, &token);
    Ok(Some(match purpose {
        Purpose::ResetPassword => letters::reset(owner.email, &link, &token, good_for),
        Purpose::VerifyAddress => letters::verify(owner.email, &link, &token, good_for),
    }))
}
