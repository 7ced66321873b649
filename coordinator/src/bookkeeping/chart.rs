//! The chart of accounts: which accounts users, nodes and the platform have, and why credits move between them.
//! Its kinds of accounts are rows of the table `account_kinds`. It stands here and not in the ledger, which knows
//! neither users nor nodes.

use ledger::{Account, AccountKind, Hold, PLATFORM};
use proto::{MicroCredits, NodeId};

use model::ids::UserId;

pub const USER_AVAILABLE: AccountKind = AccountKind::new("user", "available");
const USER_UPLOAD_HOLD: AccountKind = AccountKind::new("user", "upload_hold");
const USER_ESCROW: AccountKind = AccountKind::new("user", "escrow");
const NODE_HELD: AccountKind = AccountKind::new("node", "held");
const NODE_AVAILABLE: AccountKind = AccountKind::new("node", "available");

/// What every user has.
pub const OF_USERS: [AccountKind; 3] = [USER_AVAILABLE, USER_UPLOAD_HOLD, USER_ESCROW];

/// What every node has.
pub const OF_NODES: [AccountKind; 2] = [NODE_HELD, NODE_AVAILABLE];

pub const INCOME: Account = of_platform("income");
pub const PENALTIES: Account = of_platform("penalties");
pub const ROUNDING: Account = of_platform("rounding");
/// What chargebacks took that accounts did not have any more: what it owes, the platform has lost.
pub const LOSSES: Account = of_platform("losses");
/// The world beyond: purchases come from here, payouts go there.
pub const OUTSIDE: Account = of_platform("outside");

const fn of_platform(name: &'static str) -> Account {
    Account::new(PLATFORM, AccountKind::new("platform", name))
}

pub const fn available(user: UserId) -> Account {
    Account::new(user.as_uuid(), USER_AVAILABLE)
}

pub const fn upload_hold(user: UserId) -> Account {
    Account::new(user.as_uuid(), USER_UPLOAD_HOLD)
}

pub const fn escrow(user: UserId) -> Account {
    Account::new(user.as_uuid(), USER_ESCROW)
}

pub const fn node_held(node: NodeId) -> Account {
    Account::new(node.as_uuid(), NODE_HELD)
}

pub const fn node_available(node: NodeId) -> Account {
    Account::new(node.as_uuid(), NODE_AVAILABLE)
}

/// What is held of a user's credits for an upload that is not complete.
pub const fn held_for_upload(user: UserId, amount: MicroCredits) -> Hold {
    Hold::new(available(user), upload_hold(user), amount)
}

/// Why a transfer happens.
pub mod transfer_kind {
    use ledger::TransferKind;

    /// outside → available
    pub const PURCHASE: TransferKind = TransferKind::new("purchase");
    /// available and losses → outside: a payment was called back
    pub const PURCHASE_REVERSED: TransferKind = TransferKind::new("purchase_reversed");
    /// outside → available and losses: that was argued, and won
    pub const PURCHASE_RESTORED: TransferKind = TransferKind::new("purchase_restored");
    /// income → upload hold: what a new account may try the network with. What is not used of it goes back
    /// to income with the transfer that ends upload or file; older ones went to `available`.
    pub const TRIAL: TransferKind = TransferKind::new("trial");
    /// available → upload hold, when an upload begins or grows
    pub const HOLD: TransferKind = TransferKind::new("hold");
    /// upload hold and available → escrow, and what was held too much back to whom it came from
    pub const CHARGE: TransferKind = TransferKind::new("charge");
    /// upload hold → available, when an upload is given up
    pub const RELEASE: TransferKind = TransferKind::new("release");
    /// available → income: a chunk of an upload was sent again with other content
    pub const RESEND: TransferKind = TransferKind::new("resend");
    /// income → available: the network could not store it
    pub const RESEND_RETURNED: TransferKind = TransferKind::new("resend_returned");
    /// escrow → income, once a day, for the use of a user's files
    pub const USE: TransferKind = TransferKind::new("use");
    /// available → escrow: another month of a file
    pub const RENEW: TransferKind = TransferKind::new("renew");
    /// escrow → income for the time a file was kept, and the rest back to available
    pub const DELETE: TransferKind = TransferKind::new("delete");
    /// The same for a file that was not paid for any longer.
    pub const EXPIRE: TransferKind = TransferKind::new("expire");
    /// income → held and available of a node, and penalties from there, once a day
    pub const EARN: TransferKind = TransferKind::new("earn");
    /// A node's available → outside
    pub const PAYOUT: TransferKind = TransferKind::new("payout");
    /// income → available, by an administrator, with a reason
    pub const GRANT: TransferKind = TransferKind::new("grant");
    /// available → income: what an account still had when it was closed
    pub const FORFEIT: TransferKind = TransferKind::new("forfeit");
    /// outside → a node's available, when the provider would not pay out
    pub const PAYOUT_REFUSED: TransferKind = TransferKind::new("payout_refused");
}
