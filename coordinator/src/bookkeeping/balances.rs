//! What users and nodes have on their accounts.

use ledger::Account;
use proto::{MicroCredits, NodeId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::bookkeeping::chart;
use model::ids::UserId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserBalance {
    pub available: MicroCredits,
    pub upload_hold: MicroCredits,
    pub escrow: MicroCredits,
}

impl UserBalance {
    /// All that the user has.
    pub fn total(&self) -> MicroCredits {
        let parts = [self.available, self.upload_hold, self.escrow];
        MicroCredits::checked_sum(parts).unwrap_or(self.available)
    }
}

pub async fn of_user(connection: &mut PgConnection, user: UserId) -> sqlx::Result<UserBalance> {
    let balances = ledger::balances(connection, &[user.as_uuid()]).await?;
    let of = |account: Account| balances.of(account).unwrap_or_default();
    Ok(UserBalance {
        available: of(chart::available(user)),
        upload_hold: of(chart::upload_hold(user)),
        escrow: of(chart::escrow(user)),
    })
}

/// What a user has, locked until the transaction ends.
pub async fn lock_user(connection: &mut PgConnection, user: UserId) -> sqlx::Result<UserBalance> {
    let balances = ledger::lock_balances(connection, user.as_uuid()).await?;
    let of = |account: Account| balances.of(account).unwrap_or_default();
    Ok(UserBalance {
        available: of(chart::available(user)),
        upload_hold: of(chart::upload_hold(user)),
        escrow: of(chart::escrow(user)),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeBalance {
    pub node_id: NodeId,
    pub available: MicroCredits,
    pub held: MicroCredits,
}

impl NodeBalance {
    /// All that the node has earned and not been paid out.
    pub fn earned(&self) -> MicroCredits {
        self.available
            .checked_add(self.held)
            .unwrap_or(self.available)
    }
}

/// The balances of these nodes; one that is not known is left out.
pub async fn of_nodes(
    connection: &mut PgConnection,
    nodes: &[NodeId],
) -> sqlx::Result<Vec<NodeBalance>> {
    let ids: Vec<Uuid> = nodes.iter().map(NodeId::as_uuid).collect();
    let balances = ledger::balances(connection, &ids).await?;
    let known = nodes.iter().filter_map(|node| {
        Some(NodeBalance {
            node_id: *node,
            available: balances.of(chart::node_available(*node))?,
            held: balances.of(chart::node_held(*node))?,
        })
    });
    Ok(known.collect())
}

/// What a node has, locked until the transaction ends.
pub async fn lock_node(connection: &mut PgConnection, node: NodeId) -> sqlx::Result<NodeBalance> {
    let balances = ledger::lock_balances(connection, node.as_uuid()).await?;
    let of = |account: Account| balances.of(account).unwrap_or_default();
    Ok(NodeBalance {
        node_id: node,
        available: of(chart::node_available(node)),
        held: of(chart::node_held(node)),
    })
}
