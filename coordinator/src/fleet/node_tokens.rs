//! Admission tokens: who may make how many, and the making.
//!
//! A token lets one node in. So whoever can make tokens says who joins, and a network that admits nodes by token is closed
//! only if that is not everybody: administrators make as many as they like, accounts as many as an administrator has allowed
//! them. Where any node may join, a token only says whose node it is, and each account may have some.

use std::time::Duration;

use jiff::Timestamp;
use model::ids::UserId;
use model::user::Role;
use rand::CryptoRng;
use sqlx::PgConnection;
use zeroize::Zeroizing;

use super::registration::after;
use super::{Nodes, tables};
use crate::accounts;
use crate::accounts::secrets;
use crate::accounts::tables::users::NodeRight;
use crate::config::Admission;
use crate::security;
use crate::security::{Event, EventKind};

/// How long an admission token waits for its node.
const TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// Tokens of one account that may wait for their node.
const WAITING: i64 = 100;

/// Nodes of one account where no token is needed to join, and no administrator has said another number.
const WHERE_ANY_NODE_JOINS: u32 = 100;

#[derive(Debug, thiserror::Error)]
pub enum NodeTokenError {
    #[error("this network admits nodes by token, and this account may not add any")]
    NoRight,
    #[error("{WAITING} tokens of this account wait for their node")]
    TooManyWaiting,
    #[error(
        "this account may have {limit} nodes, and has as many, tokens that wait for their node included"
    )]
    TooManyNodes { limit: u32 },
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// How many nodes an account may have; `None` where there is no limit.
pub fn quota(right: NodeRight, admission: Admission) -> Option<u32> {
    match (right.role, right.quota, admission) {
        (Role::Admin, ..) => None,
        (_, Some(quota), _) => Some(quota),
        (_, None, Admission::Token) => Some(0),
        (_, None, Admission::Open | Admission::Allowlist) => Some(WHERE_ANY_NODE_JOINS),
    }
}

/// A token that lets one node in, and makes the caller its operator. `role` is what the caller has shown to be.
pub async fn create_for(
    nodes: &Nodes,
    operator: UserId,
    role: Role,
) -> Result<(Zeroizing<String>, Timestamp), NodeTokenError> {
    let mut transaction = nodes.db.begin().await?;
    let right = accounts::tables::users::lock_node_right(&mut transaction, operator).await?;
    let right = right.ok_or(NodeTokenError::NoRight)?;
    let right = NodeRight {
        role: if role == Role::Admin {
            role
        } else {
            right.role
        },
        ..right
    };
    let waiting = tables::nodes::count_unused_tokens(&mut transaction, operator, WAITING).await?;
    if waiting >= WAITING {
        return Err(NodeTokenError::TooManyWaiting);
    }
    match quota(right, nodes.config.admission) {
        None => {}
        Some(0) => return Err(NodeTokenError::NoRight),
        Some(limit) => {
            let has = tables::nodes::count_of_operator(&mut transaction, operator).await?;
            if has >= u64::from(limit) {
                return Err(NodeTokenError::TooManyNodes { limit });
            }
        }
    }
    let (now, mut rng) = (nodes.clock.now(), nodes.entropy.rng());
    let made = create(&mut transaction, Some(operator), now, &mut rng).await?;
    security::record(
        &mut transaction,
        Event::done(EventKind::NodeTokenMade, operator),
    )
    .await?;
    transaction.commit().await?;
    Ok(made)
}

/// A token that lets one node in, and makes `operator` its operator, whatever that account may do.
pub async fn create(
    connection: &mut PgConnection,
    operator: Option<UserId>,
    now: Timestamp,
    rng: &mut impl CryptoRng,
) -> sqlx::Result<(Zeroizing<String>, Timestamp)> {
    let token = secrets::generate("fsnt", rng);
    let expires_at = after(now, TTL);
    tables::nodes::insert_token(connection, &secrets::hash(&token), operator, expires_at).await?;
    Ok((token, expires_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_token_is_asked_for_only_those_make_one_who_were_given_the_right() {
        let right = |role, quota| NodeRight {
            user_id: UserId::from_bytes([0; 16]),
            role,
            quota,
        };
        for admission in [Admission::Token, Admission::Open, Admission::Allowlist] {
            assert_eq!(quota(right(Role::Admin, Some(0)), admission), None);
            assert_eq!(quota(right(Role::User, Some(7)), admission), Some(7));
            assert_eq!(quota(right(Role::User, Some(0)), admission), Some(0));
        }
        assert_eq!(quota(right(Role::User, None), Admission::Token), Some(0));
        let open = quota(right(Role::User, None), Admission::Open);
        assert_eq!(open, Some(WHERE_ANY_NODE_JOINS));
    }
}
