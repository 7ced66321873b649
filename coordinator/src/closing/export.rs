//! All that is kept about an account, as one archive of JSON documents.
//!
//! Written by a task of its own while it is taken, a page of rows at a time. It is no snapshot: what changes meanwhile
//! may be in it or not.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use ledger::TransferId;
use proto::{FileId, MicroCredits};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Closing;
use super::archive::Archive;
use crate::accounts::tables::decisions::{self, Made};
use crate::accounts::tables::standing;
use crate::accounts::{access_keys, passkeys, second_factor, sessions};
use crate::billing::history;
use crate::billing::tables::{destinations, payouts, purchases};
use crate::bookkeeping::{balances, chart};
use crate::database::Pool;
use crate::files::listing::{self, Order};
use crate::fleet::tables::operators;
use crate::objects;
use crate::shares::tables::shares;
use model::ids::UserId;
use model::objects::ListEntry;
use model::sharing::ShareTarget;
use rules::listing::Listing;

/// Rows in one document.
const PAGE: i64 = 500;

/// Decisions about one account; more are none of a life.
const DECISIONS: i64 = 10_000;

/// Pieces that wait to be taken.
const PIECES: usize = 2;

#[derive(Debug, Serialize)]
struct Account {
    user_id: Uuid,
    email: String,
    role: &'static str,
    created_at: Timestamp,
    has_bought: bool,
    node_quota: Option<u32>,
    available_microcredits: MicroCredits,
    held_microcredits: MicroCredits,
    escrow_microcredits: MicroCredits,
    exported_at: Timestamp,
}

/// The archive as it comes; it ends early, with an error, when the database fails.
pub type Pieces = mpsc::Receiver<io::Result<Bytes>>;

/// Begins to write. Whoever takes nothing for a while is left.
pub fn export(closing: &Arc<Closing>, user: UserId) -> Pieces {
    let (pieces, taken) = mpsc::channel(PIECES);
    let closing = Arc::clone(closing);
    tokio::spawn(async move {
        let outlet = Outlet {
            pieces: &pieces,
            closing: &closing,
        };
        if let Err(error) = write(&closing, user, &outlet).await {
            tracing::warn!(user_id = %user, %error, "an account's archive broke off");
            let _ = pieces.try_send(Err(io::Error::other("the archive broke off")));
        }
    });
    taken
}

struct Outlet<'a> {
    pieces: &'a mpsc::Sender<io::Result<Bytes>>,
    closing: &'a Closing,
}

impl Outlet<'_> {
    async fn send(&self, piece: Vec<u8>) -> anyhow::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        let sent = self.pieces.send(Ok(Bytes::from(piece)));
        let sent = tokio::time::timeout(self.closing.idle_timeout, sent).await;
        Ok(sent??)
    }
}

async fn write(closing: &Closing, user: UserId, outlet: &Outlet<'_>) -> anyhow::Result<()> {
    let now = closing.clock.now();
    let mut archive = Archive::new(now);
    if let Some((account, decided)) = account(&closing.db, user, now).await? {
        outlet.send(archive.add("account.json", &account)?).await?;
        outlet
            .send(archive.add("decisions.json", &decided)?)
            .await?;
    }
    for (name, documents) in logins(closing, user).await? {
        outlet.send(archive.add(name, &documents)?).await?;
    }
    let shared = shared(&closing.db, user).await?;
    outlet.send(archive.add("shares.json", &shared)?).await?;
    events(closing, user, &mut archive, outlet).await?;
    nodes(closing, user, &mut archive, outlet).await?;
    files(closing, user, &mut archive, outlet).await?;
    buckets(closing, user, &mut archive, outlet).await?;
    money(closing, user, &mut archive, outlet).await?;
    transactions(closing, user, &mut archive, outlet).await?;
    outlet.send(archive.finish()?).await
}

async fn account(
    db: &Pool,
    user: UserId,
    now: Timestamp,
) -> sqlx::Result<Option<(Account, Vec<Made>)>> {
    let mut connection = db.acquire().await?;
    let Some(row) = standing::one(&mut connection, user).await? else {
        return Ok(None);
    };
    let balance = balances::of_user(&mut connection, user).await?;
    let account = Account {
        user_id: row.id.as_uuid(),
        email: row.email,
        role: row.role.name(),
        created_at: row.created_at,
        has_bought: row.has_bought,
        node_quota: row.node_quota,
        available_microcredits: balance.available,
        held_microcredits: balance.upload_hold,
        escrow_microcredits: balance.escrow,
        exported_at: now,
    };
    let decided = decisions::about(&mut connection, user.as_uuid(), DECISIONS).await?;
    Ok(Some((account, decided)))
}

/// Sessions, access keys, passkeys and the second factor: what there is, and none of what lets somebody in.
async fn logins(closing: &Closing, user: UserId) -> sqlx::Result<[(&'static str, Vec<Value>); 4]> {
    let accounts = &closing.accounts;
    let sessions = sessions::list(accounts, user).await?.into_iter();
    let sessions = sessions.map(|session| {
        json!({
            "session_id": session.id.as_uuid(), "created_at": session.created_at, "expires_at": session.expires_at,
            "last_seen_at": session.last_seen_at, "address": session.address, "user_agent": session.user_agent,
        })
    });
    let keys = access_keys::list(accounts, user).await?.into_iter();
    let keys = keys.map(|key| {
        json!({
            "access_key_id": key.id.to_string(), "name": key.name, "scopes": key.scopes.names(),
            "allowed_addresses": key.allowed.texts(), "created_at": key.created_at, "expires_at": key.expires_at,
            "last_used_at": key.last_use.at(), "last_used_address": key.last_used_address,
        })
    });
    let passkeys = passkeys::list(accounts, user).await?.into_iter();
    let passkeys = passkeys.map(|passkey| {
        json!({
            "passkey_id": passkey.id.as_uuid(), "name": passkey.name, "created_at": passkey.created_at,
            "last_used_at": passkey.last_used_at,
        })
    });
    let factor = second_factor::status(accounts, user).await?;
    let factor = json!({
        "totp_since": factor.totp_since, "recovery_codes_left": factor.recovery_codes_left,
    });
    Ok([
        ("sessions.json", sessions.collect()),
        ("access_keys.json", keys.collect()),
        ("passkeys.json", passkeys.collect()),
        ("second_factor.json", vec![factor]),
    ])
}

/// Links without their ids, which let others in. Their number is bounded.
async fn shared(db: &Pool, user: UserId) -> sqlx::Result<Vec<Value>> {
    let mut connection = db.acquire().await?;
    let all = shares::of_user(&mut connection, user).await?.into_iter();
    let all = all.map(|share| {
        let (file, key) = match share.target {
            ShareTarget::File(file) => (Some(file), None),
            ShareTarget::Object { key, .. } => (None, Some(key)),
        };
        json!({
            "name": share.name, "file_id": file, "bucket": share.bucket, "key": key,
            "has_password": share.password_hash.is_some(), "created_at": share.created_at,
            "expires_at": share.expires_at, "downloads": share.usage.downloads,
            "sent_bytes": share.usage.sent_bytes,
        })
    });
    Ok(all.collect())
}

async fn events(
    closing: &Closing,
    user: UserId,
    archive: &mut Archive,
    outlet: &Outlet<'_>,
) -> anyhow::Result<()> {
    let mut before = None;
    for number in 1.. {
        let page = closing
            .accounts
            .security
            .of_user(user, before, PAGE)
            .await?;
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        let page = page.into_iter().map(|event| {
            json!({
                "at": event.at, "kind": event.kind, "outcome": event.outcome, "actor": event.actor,
                "address": event.address, "subject": event.subject, "count": event.count,
            })
        });
        let page: Vec<Value> = page.collect();
        let name = format!("events/{number:06}.json");
        outlet.send(archive.add(&name, &page)?).await?;
    }
    Ok(())
}

async fn nodes(
    closing: &Closing,
    user: UserId,
    archive: &mut Archive,
    outlet: &Outlet<'_>,
) -> anyhow::Result<()> {
    let mut after = None;
    for number in 1.. {
        let mut connection = closing.db.acquire().await?;
        let page = operators::nodes_of(&mut connection, user, after, PAGE).await?;
        drop(connection);
        let Some(last) = page.last() else { break };
        after = Some(last.node_id);
        let name = format!("nodes/{number:06}.json");
        outlet.send(archive.add(&name, &page)?).await?;
    }
    Ok(())
}

async fn files(
    closing: &Closing,
    user: UserId,
    archive: &mut Archive,
    outlet: &Outlet<'_>,
) -> anyhow::Result<()> {
    let mut after: Option<(Timestamp, FileId)> = None;
    for number in 1.. {
        let order = Order::ByTime(after);
        let page = listing::list(&closing.files, user, "", order, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some((last.completed_at, last.id));
        let page: Vec<_> = page.into_iter().map(listing::described).collect();
        let name = format!("files/{number:06}.json");
        outlet.send(archive.add(&name, &page)?).await?;
    }
    Ok(())
}

/// Buckets, and the names of what is in them: all versions, markers included.
async fn buckets(
    closing: &Closing,
    user: UserId,
    archive: &mut Archive,
    outlet: &Outlet<'_>,
) -> anyhow::Result<()> {
    let all = objects::buckets::list(&closing.objects, user).await?;
    let described = all.iter().map(|bucket| {
        json!({
            "name": bucket.name, "versioning": bucket.versioning.name(), "created_at": bucket.created_at,
        })
    });
    let described: Vec<Value> = described.collect();
    outlet
        .send(archive.add("buckets.json", &described)?)
        .await?;
    for bucket in &all {
        let mut listing = Listing {
            limit: PAGE as u32,
            ..Listing::default()
        };
        let mut behind = None;
        for number in 1.. {
            let page =
                objects::listing::versions(&closing.objects, bucket, &listing, behind).await?;
            let names: Vec<Value> = page.entries.iter().filter_map(object).collect();
            let name = format!("objects/{}/{number:06}.json", bucket.name);
            outlet.send(archive.add(&name, &names)?).await?;
            let Some(next) = page.next else { break };
            listing.start = next.start;
            behind = next.behind;
        }
    }
    Ok(())
}

fn object(entry: &ListEntry) -> Option<Value> {
    let ListEntry::Object(version) = entry else {
        return None; // folders are of lists with a delimiter
    };
    Some(json!({
        "key": version.key, "version_id": version.id.as_uuid(), "is_latest": version.is_latest,
        "is_marker": version.is_marker, "size_bytes": version.size_bytes, "etag": version.etag,
        "content_type": version.content_type, "metadata": version.metadata, "created_at": version.created_at,
    }))
}

/// What was bought, what was paid out, and to whom.
async fn money(
    closing: &Closing,
    user: UserId,
    archive: &mut Archive,
    outlet: &Outlet<'_>,
) -> anyhow::Result<()> {
    let mut connection = closing.db.acquire().await?;
    let destination = destinations::of_user(&mut connection, user).await?;
    drop(connection);
    outlet
        .send(archive.add("payout_destination.json", &destination)?)
        .await?;
    let mut before = None;
    for number in 1.. {
        let mut connection = closing.db.acquire().await?;
        let page = purchases::made_by(&mut connection, user, before, PAGE).await?;
        drop(connection);
        let Some(last) = page.last() else { break };
        before = Some(last.purchase_id);
        let name = format!("purchases/{number:06}.json");
        outlet.send(archive.add(&name, &page)?).await?;
    }
    let mut before = None;
    for number in 1.. {
        let mut connection = closing.db.acquire().await?;
        let page = payouts::of_operator(&mut connection, user, before, PAGE).await?;
        drop(connection);
        let Some(last) = page.last() else { break };
        before = Some(last.payout_id);
        let name = format!("payouts/{number:06}.json");
        outlet.send(archive.add(&name, &page)?).await?;
    }
    Ok(())
}

async fn transactions(
    closing: &Closing,
    user: UserId,
    archive: &mut Archive,
    outlet: &Outlet<'_>,
) -> anyhow::Result<()> {
    let mut before: Option<TransferId> = None;
    for number in 1.. {
        let mut connection = closing.db.acquire().await?;
        let account = chart::available(user);
        let page = ledger::transfers_of(&mut connection, account, before, PAGE).await?;
        drop(connection);
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        let page: Vec<_> = page.into_iter().map(history::described).collect();
        let name = format!("transactions/{number:06}.json");
        outlet.send(archive.add(&name, &page)?).await?;
    }
    Ok(())
}
