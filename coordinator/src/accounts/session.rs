//! A session as this coordinator knows it, and the device that it is of.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::accounts::stored_key::LastUse;
use model::ids::{SessionId, UserId};
use model::user::Role;

/// Characters that are kept of what a program calls itself.
const LONGEST_AGENT: usize = 200;

/// From where somebody logs in, and with what.
#[derive(Debug, Clone)]
pub struct Device {
    pub address: IpAddr,
    user_agent: String,
}

impl Device {
    /// What a program calls itself is cut, and in one line.
    pub fn new(address: IpAddr, user_agent: &str) -> Self {
        let text = user_agent.chars().filter(|c| !c.is_control());
        Self {
            address,
            user_agent: text.take(LONGEST_AGENT).collect(),
        }
    }

    pub fn user_agent(&self) -> &str {
        &self.user_agent
    }
}

/// The session that somebody asks from, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct OwnSession {
    pub user: UserId,
    pub session: SessionId,
}

/// A session as it is checked.
#[derive(Debug)]
pub struct SessionState {
    pub id: SessionId,
    pub user_id: UserId,
    pub role: Role,
    /// Why its owner may do nothing.
    pub suspended: Option<String>,
    pub expires_at: Timestamp,
    pub last_seen: LastUse,
}

/// A session as it is shown.
#[derive(Debug)]
pub struct Session {
    pub id: SessionId,
    pub created_at: Timestamp,
    pub last_seen_at: Timestamp,
    pub address: Option<String>,
    pub user_agent: String,
    pub expires_at: Timestamp,
}
