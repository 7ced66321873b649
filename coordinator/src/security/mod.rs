//! The security log: who did, or tried, what, from where, with what outcome. A line of the log (target `security`) and a
//! row of `security_events`, for 400 days.
//!
//! What changes something is recorded in the transaction that changes it. What strangers can repeat at will is counted in
//! bounded room, and written a row for each address, account and minute. Who asks, and from where, comes along with the
//! request's task ([`Asked`]), as its span does: use-cases do not hand it on, and none forgets to.

pub mod jobs;
pub mod tables;

use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;
use kit::Clock;
use limits::tally::{Counted, Tally};
use model::ids::UserId;
pub use model::security::{EventKind, Outcome, SecurityEvent};
use proto::RequestId;
use rules::client_address::network_of;
use sqlx::PgConnection;

use crate::database::Pool;

/// Strangers that are told apart in one minute.
const TOLD_APART: usize = 60;

/// Characters that are kept of what something was done to.
const LONGEST_SUBJECT: usize = 500;

tokio::task_local! {
    static ASKED: Asked;
}

/// Where the work that a task does comes from.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub request_id: Option<String>,
    pub address: Option<IpAddr>,
    /// Known when somebody has shown who he is.
    actor: Arc<OnceLock<String>>,
}

impl Asked {
    pub fn of_request(request_id: &str, address: Option<IpAddr>) -> Self {
        Self {
            request_id: Some(request_id.to_owned()),
            address,
            actor: Arc::default(),
        }
    }

    /// Of an operator at the command line.
    pub fn of_command(operator: &str) -> Self {
        let asked = Self::default();
        let operator: String = operator.chars().take(100).collect();
        let _ = asked.actor.set(format!("command line: {operator}"));
        asked
    }

    /// What is done within is done for this.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        ASKED.scope(self, work).await
    }
}

/// Whoever asks has shown who he is.
pub fn note_actor(actor: impl FnOnce() -> String) {
    let _ = ASKED.try_with(|asked| {
        asked.actor.get_or_init(actor);
    });
}

/// Which client's request this is part of, for the logs of nodes.
pub fn request_id() -> RequestId {
    let id = ASKED.try_with(|asked| asked.request_id.as_deref().map(RequestId::new));
    id.ok().flatten().unwrap_or_default()
}

/// For a task that goes on with what this one does.
pub fn carried<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    ASKED.scope(asked(), work)
}

fn asked() -> Asked {
    ASKED.try_with(Asked::clone).unwrap_or_default()
}

/// What happened, as its use-case knows it.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    pub kind: EventKind,
    pub outcome: Outcome,
    /// Whose account it is about.
    pub user: Option<UserId>,
    pub subject: Option<&'a str>,
}

impl<'a> Event<'a> {
    pub const fn done(kind: EventKind, user: UserId) -> Self {
        Self {
            kind,
            outcome: Outcome::Done,
            user: Some(user),
            subject: None,
        }
    }

    pub const fn of(self, subject: &'a str) -> Self {
        Self {
            subject: Some(subject),
            ..self
        }
    }
}

/// What is written of an event.
pub struct Row<'a> {
    event: Event<'a>,
    asked: Asked,
    count: u64,
    /// In whose row it is counted.
    counted_as: Option<[u8; 32]>,
}

/// Records what has happened, in the transaction in which it does.
pub async fn record(connection: &mut PgConnection, event: Event<'_>) -> sqlx::Result<()> {
    write(connection, Row::each(event, asked())).await
}

/// As [`record`], where it can be repeated at will: those of one minute are one row.
pub async fn count(
    connection: &mut PgConnection,
    event: Event<'_>,
    now: Timestamp,
) -> sqlx::Result<()> {
    let asked = asked();
    let who = Who {
        kind: event.kind,
        user: event.user,
        network: asked.address.map(network_of),
    };
    let counted_as = who.counted_as(event.outcome, minute(now));
    let row = Row {
        counted_as: Some(counted_as),
        ..Row::each(event, asked)
    };
    write(connection, row).await
}

impl<'a> Row<'a> {
    const fn each(event: Event<'a>, asked: Asked) -> Self {
        Self {
            event,
            asked,
            count: 1,
            counted_as: None,
        }
    }
}

async fn write(connection: &mut PgConnection, row: Row<'_>) -> sqlx::Result<()> {
    tables::events::insert(connection, &row).await?;
    let Row { event, asked, .. } = &row;
    tracing::info!(
        target: "security",
        kind = event.kind.name(),
        outcome = event.outcome.name(),
        user_id = event.user.map(tracing::field::display),
        actor = asked.actor.get(),
        address = asked.address.map(tracing::field::display),
        subject = event.subject.map(cut),
        count = row.count,
        request_id = asked.request_id,
        "security event"
    );
    Ok(())
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_SUBJECT)]
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

/// Who is counted: an address's network, and what it tried, with whose account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Who {
    kind: EventKind,
    user: Option<UserId>,
    network: Option<IpAddr>,
}

impl Who {
    fn counted_as(&self, outcome: Outcome, minute: i64) -> [u8; 32] {
        let Self {
            kind,
            user,
            network,
        } = self;
        let text = format!(
            "{} {} {user:?} {network:?} {minute}",
            kind.name(),
            outcome.name()
        );
        blake3::derive_key("fsn security event v1", text.as_bytes())
    }
}

/// What strangers try, until it is written.
pub struct SecurityLog {
    db: Pool,
    clock: Clock,
    refused: Mutex<Tally<Who>>,
}

impl SecurityLog {
    pub fn new(db: Pool, clock: Clock) -> Self {
        Self {
            db,
            clock,
            refused: Mutex::new(Tally::new(TOLD_APART)),
        }
    }

    /// Counts what was refused; `user` is whose account it was about, where there is one.
    pub fn refused(&self, kind: EventKind, user: Option<UserId>) {
        let asked = asked();
        tracing::info!(
            target: "security",
            kind = kind.name(),
            outcome = Outcome::Refused.name(),
            user_id = user.map(tracing::field::display),
            actor = asked.actor.get(),
            address = asked.address.map(tracing::field::display),
            request_id = asked.request_id,
            "security event"
        );
        let network = asked.address.map(network_of);
        let who = Who {
            kind,
            user,
            network,
        };
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.count(minute(self.clock.now()), who);
    }

    fn take(&self) -> Vec<Counted<Who>> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.take()
    }

    /// Writes what was counted. What cannot be written is lost from the table, and stands in the log.
    pub async fn flush(&self) -> sqlx::Result<usize> {
        let counted = self.take();
        if counted.is_empty() {
            return Ok(0);
        }
        let mut transaction = self.db.begin().await?;
        for Counted { minute, who, count } in &counted {
            // Those who were too many for one minute are somebody's failed logins, most likely.
            let who = who.unwrap_or(Who {
                kind: EventKind::Login,
                user: None,
                network: None,
            });
            let event = Event {
                kind: who.kind,
                outcome: Outcome::Refused,
                user: who.user,
                subject: None,
            };
            let asked = Asked {
                address: who.network,
                ..Asked::default()
            };
            let row = Row {
                count: *count,
                counted_as: Some(who.counted_as(Outcome::Refused, *minute)),
                ..Row::each(event, asked)
            };
            tables::events::insert(&mut transaction, &row).await?;
        }
        transaction.commit().await?;
        Ok(counted.len())
    }

    /// What was done with an account, the newest first.
    pub async fn of_user(
        &self,
        user: UserId,
        before: Option<i64>,
        limit: i64,
    ) -> sqlx::Result<Vec<SecurityEvent>> {
        let wanted = tables::events::Wanted {
            user: Some(user),
            before,
            ..tables::events::Wanted::default()
        };
        let mut connection = self.db.acquire().await?;
        tables::events::list(&mut connection, &wanted, limit).await
    }
}

impl Row<'_> {
    fn actor(&self) -> Option<&str> {
        self.asked.actor.get().map(String::as_str)
    }

    fn subject(&self) -> Option<&str> {
        self.event.subject.map(cut)
    }
}
