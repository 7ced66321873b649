//! `coordinator admin user`: accounts, as administrators see and change them. The database is all that it needs.

use std::fmt;

use crate::database::Pool;
use anyhow::{Context, Result, bail, ensure};
use api::paths::RESET_PAGE;
use clap::Subcommand;
use kit::output::{align_right, plain_table, print_json, print_table, ruled_table};
use kit::{Clock, Entropy};
use proto::MicroCredits;
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Output;
use crate::accounts::tables::standing::{self, Listed};
use crate::accounts::tables::{decisions, users};
use crate::accounts::{decisions::reason, recovery, second_factor, suspension};
use crate::billing::grants;
use crate::bookkeeping::balances;
use crate::closing::close;
use crate::config::Config;
use crate::fleet;
use crate::fleet::node_tokens;
use model::ids::UserId;
use model::names::Email;

/// More nodes than any fleet of one account has.
const MOST_NODES: u32 = 1_000_000;

/// Decisions that are shown.
const HISTORY: i64 = 50;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// List the accounts, oldest first.
    List {
        /// Only those that are suspended.
        #[arg(long)]
        suspended: bool,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Show an account: what it has, what it may do, what was decided about it.
    Show {
        /// The address, or the account's id.
        user: String,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Let nobody log in to an account, and end the logins that there are. Its files stay.
    Suspend {
        /// The address, or the account's id.
        user: String,
        /// The owner is told it when he logs in.
        #[arg(long)]
        reason: String,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Let a suspended account be used again.
    Unsuspend {
        /// The address, or the account's id.
        user: String,
        /// Kept for those who look later.
        #[arg(long)]
        reason: String,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// End all logins of an account, at once and at every coordinator. Its access keys stay.
    EndSessions {
        /// The address, or the account's id.
        user: String,
        /// Kept for those who look later.
        #[arg(long)]
        reason: String,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Give an account credits, out of the network's income.
    Credit {
        /// The address, or the account's id.
        user: String,
        /// Credits, with at most six decimals.
        credits: MicroCredits,
        /// Stands in the ledger, and the owner sees it.
        #[arg(long)]
        reason: String,
        /// Repeated under the same key nothing more is given.
        #[arg(long)]
        key: Option<String>,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Close an account for good: its files are deleted, its credits forfeited, and what says who it was is forgotten.
    Delete {
        /// The address, or the account's id.
        user: Forgotten,
        /// Kept for those who look later.
        #[arg(long)]
        reason: String,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Make a link by which the account's owner sets another password, once and within a day. For who has shown you in
    /// another way that he is the owner: whoever has the link has the account. It is shown once.
    ResetLink {
        /// The address, or the account's id.
        user: String,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Ask an account for no second factor any more: for who has lost app and recovery codes, and has shown you in another
    /// way that he is the owner. All its logins end.
    RemoveSecondFactor {
        /// The address, or the account's id.
        user: String,
        /// Kept for those who look later.
        #[arg(long)]
        reason: String,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Let an account have so many nodes, for which it makes its own tokens (`POST /api/v1/nodes/tokens`). 0 takes the
    /// right away; nodes that are there stay.
    AllowNodes { email: String, count: u32 },
}

/// An account that is to be forgotten: the security log, which keeps what was commanded, is not to remember it.
#[derive(Clone)]
pub(super) struct Forgotten(String);

impl fmt::Debug for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.parse::<Uuid>() {
            Ok(id) => write!(f, "{id}"),
            Err(_) => f.write_str("by its address"),
        }
    }
}

impl From<String> for Forgotten {
    fn from(user: String) -> Self {
        Self(user)
    }
}

impl UserCommand {
    pub(super) async fn run(self, config: &Config, pool: &Pool) -> Result<()> {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let by = (&clock, &entropy);
        match self {
            Self::List { suspended, output } => list(pool, suspended, output).await,
            Self::Show { user, output } => show(config, pool, &user, output).await,
            Self::Suspend {
                user,
                reason: why,
                output,
            } => {
                let (id, why) = (find(pool, &user).await?, reason(&why).context("--reason")?);
                suspension::suspend(pool, by, id, why).await?;
                done(
                    output,
                    id,
                    "suspended",
                    &format!("{user} is suspended: nobody can log in, and its files stay."),
                )
            }
            Self::Unsuspend {
                user,
                reason: why,
                output,
            } => {
                let (id, why) = (find(pool, &user).await?, reason(&why).context("--reason")?);
                suspension::unsuspend(pool, by, id, why).await?;
                done(output, id, "active", &format!("{user} can be used again."))
            }
            Self::EndSessions {
                user,
                reason: why,
                output,
            } => {
                let (id, why) = (find(pool, &user).await?, reason(&why).context("--reason")?);
                suspension::end_sessions(pool, by, id, why).await?;
                done(
                    output,
                    id,
                    "active",
                    &format!("{user} is logged in nowhere any more."),
                )
            }
            Self::Credit {
                user,
                credits,
                reason: why,
                key,
                output,
            } => {
                let (id, why) = (find(pool, &user).await?, reason(&why).context("--reason")?);
                let transfer = grants::grant(pool, by, id, credits, key.as_deref(), why).await?;
                match output {
                    Output::Json => print_json(&json!({
                        "user_id": id.as_uuid(), "microcredits": credits, "transfer_id": transfer.as_uuid(),
                    })),
                    Output::Table => {
                        println!("{user} has {credits} credits more (transfer {transfer}).");
                        Ok(())
                    }
                }
            }
            Self::Delete {
                user,
                reason: why,
                output,
            } => {
                let Forgotten(user) = user;
                let (id, why) = (find(pool, &user).await?, reason(&why).context("--reason")?);
                let left = close::by_administrator(pool, by, id, why).await?;
                let more = match left {
                    true => " Its files are taken away by and by, while a coordinator serves.",
                    false => "",
                };
                done(output, id, "closed", &format!("{user} is closed.{more}"))
            }
            Self::ResetLink { user, output } => {
                let id = find(pool, &user).await?;
                reset_link(config, pool, id, output).await
            }
            Self::RemoveSecondFactor {
                user,
                reason: why,
                output,
            } => {
                let (id, why) = (find(pool, &user).await?, reason(&why).context("--reason")?);
                let removed = second_factor::remove_by_administrator(pool, by, id, why).await?;
                ensure!(removed, "{user} has no second factor");
                done(
                    output,
                    id,
                    "active",
                    &format!("{user} is asked for no second factor any more."),
                )
            }
            Self::AllowNodes { email, count } => {
                ensure!(
                    count <= MOST_NODES,
                    "an account may have at most {MOST_NODES} nodes"
                );
                let mut connection = pool.acquire().await?;
                if !users::set_node_quota(&mut connection, &email, count).await? {
                    bail!(nobody(&email));
                }
                match count {
                    0 => println!("{email} may add no more nodes; those that are there stay."),
                    count => println!("{email} may have {count} nodes."),
                }
                Ok(())
            }
        }
    }
}

async fn reset_link(config: &Config, pool: &Pool, id: UserId, output: Output) -> Result<()> {
    let token = recovery::reset_token(pool, &Entropy::system(), id).await?;
    let site = config.http.public_url.as_deref();
    let link = site.map(|site| mail::letters::link(site, RESET_PAGE, &token));
    match (output, &link) {
        (Output::Json, link) => print_json(&json!({
            "user_id": id.as_uuid(), "token": token.as_str(), "link": link.as_ref().map(|link| link.as_str()),
        }))?,
        (Output::Table, Some(link)) => println!("{}", link.as_str()),
        (Output::Table, None) => {
            println!("{}", token.as_str());
            eprintln!(
                "http.public_url is not set, so there is no link. The owner sends this code: POST \
                 /api/v1/auth/password/reset {{\"token\":\"…\",\"new_password\":\"…\"}}"
            );
        }
    }
    if output == Output::Table {
        eprintln!("Good once, within a day.");
    }
    Ok(())
}

fn done(output: Output, id: UserId, state: &str, text: &str) -> Result<()> {
    match output {
        Output::Json => print_json(&json!({"user_id": id.as_uuid(), "state": state})),
        Output::Table => {
            println!("{text}");
            Ok(())
        }
    }
}

/// By address or id.
async fn find(pool: &Pool, user: &str) -> Result<UserId> {
    let mut connection = pool.acquire().await?;
    let found = match user.parse::<Uuid>() {
        Ok(id) => standing::one(&mut connection, UserId::from_uuid(id))
            .await?
            .map(|listed| listed.id),
        Err(_) => {
            let email = Email::try_from(user.to_owned())?;
            let found = users::credentials(&mut connection, &email).await?;
            found.map(|(id, ..)| id)
        }
    };
    found.with_context(|| nobody(user))
}

fn state(user: &Listed) -> &'static str {
    match (&user.closed_at, &user.suspended) {
        (Some(_), _) => "closed",
        (None, Some(_)) => "suspended",
        (None, None) => "active",
    }
}

fn document(user: &Listed) -> Value {
    let (since, why) = user.suspended.clone().unzip();
    json!({
        "user_id": user.id.as_uuid(),
        "email": user.email,
        "role": user.role.name(),
        "state": state(user),
        "created_at": user.created_at,
        "suspended_at": since,
        "suspended_reason": why,
        "closed_at": user.closed_at,
        "files": user.files,
        "has_bought": user.has_bought,
    })
}

async fn list(pool: &Pool, only_suspended: bool, output: Output) -> Result<()> {
    const PAGE: i64 = 1000;
    let (mut after, mut users) = (None, Vec::new());
    loop {
        let mut connection = pool.acquire().await?;
        let page = standing::list(&mut connection, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        users.extend(
            page.into_iter()
                .filter(|user| !only_suspended || state(user) == "suspended"),
        );
    }
    if output == Output::Json {
        let documents: Vec<Value> = users.iter().map(document).collect();
        return print_json(&json!({"items": documents}));
    }
    let mut table = ruled_table(["address", "account", "role", "state", "files", "opened"]);
    align_right(&mut table, [4]);
    for user in &users {
        table.add_row([
            user.email.clone(),
            user.id.to_string(),
            user.role.name().to_owned(),
            state(user).to_owned(),
            user.files.to_string(),
            format!("{:.0}", user.created_at),
        ]);
    }
    match users.is_empty() {
        true => println!("There is no such account."),
        false => print_table(table),
    }
    Ok(())
}

async fn show(config: &Config, pool: &Pool, user: &str, output: Output) -> Result<()> {
    let id = find(pool, user).await?;
    let mut connection = pool.acquire().await?;
    let user = standing::one(&mut connection, id).await?;
    let user = user.context("the account was there a moment ago")?;
    let balance = balances::of_user(&mut connection, id).await?;
    let decided = decisions::about(&mut connection, id.as_uuid(), HISTORY).await?;
    let nodes = nodes(config, &mut connection, &user).await?;
    if output == Output::Json {
        let mut document = document(&user);
        document["available_microcredits"] = json!(balance.available);
        document["held_microcredits"] = json!(balance.upload_hold);
        document["escrow_microcredits"] = json!(balance.escrow);
        document["nodes"] = json!(nodes.has);
        document["node_quota"] = json!(nodes.quota);
        document["decisions"] = json!(decided);
        return print_json(&document);
    }
    let mut table = plain_table();
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("account", format!("{} ({})", user.email, user.id));
    row("role", user.role.name().to_owned());
    match &user.suspended {
        Some((since, why)) if user.closed_at.is_none() => {
            row("state", format!("suspended since {since:.0}: {why}"));
        }
        _ => row("state", state(&user).to_owned()),
    }
    row("opened", format!("{:.0}", user.created_at));
    row(
        "files",
        format!("{} (uploads under way among them)", user.files),
    );
    row("available", format!("{} credits", balance.available));
    row(
        "held",
        format!("{} credits, for uploads", balance.upload_hold),
    );
    row("escrow", format!("{} credits, for files", balance.escrow));
    row(
        "may have",
        nodes.quota.map_or_else(
            || "any number of nodes".to_owned(),
            |count| format!("{count} nodes"),
        ),
    );
    row(
        "has",
        format!("{} (nodes, and tokens that wait for theirs)", nodes.has),
    );
    for made in decided {
        let what = made.decision.replace('_', " ");
        row(&what, format!("{:.0}: {}", made.at, made.reason));
    }
    print_table(table);
    Ok(())
}

/// What an account has of nodes, and may have.
struct OwnNodes {
    has: u64,
    /// `None`: any number.
    quota: Option<u32>,
}

async fn nodes(config: &Config, connection: &mut PgConnection, user: &Listed) -> Result<OwnNodes> {
    let right = users::NodeRight {
        user_id: user.id,
        role: user.role,
        quota: user.node_quota,
    };
    Ok(OwnNodes {
        has: fleet::tables::nodes::count_of_operator(connection, user.id).await?,
        quota: node_tokens::quota(right, config.nodes.admission),
    })
}

fn nobody(user: &str) -> String {
    format!("nobody is registered as {user}")
}
