//! A list of peers that may connect.

use std::collections::{BTreeMap, HashSet};
use std::sync::{PoisonError, RwLock};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use libp2p::{Multiaddr, PeerId};
use proto::Roles;

use super::{Admission, Refusal};

/// What the absence from the list means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// The peer may not connect.
    Enforce,
    /// It may, and is noted.
    Learn,
    /// Nothing.
    Off,
}

/// Peers that were learnt are kept up to this many; a crowd of throwaway identities is no knowledge.
const MAX_LEARNT: usize = 1024;

/// A list of peers in memory that may change at any time.
#[derive(Debug)]
pub struct AllowList {
    mode: AuthMode,
    roles: Roles,
    allowed: RwLock<HashSet<PeerId>>,
    learnt: RwLock<BTreeMap<PeerId, Multiaddr>>,
}

impl AllowList {
    /// Whoever may connect is let in with these roles.
    pub fn new(mode: AuthMode, roles: Roles, allowed: impl IntoIterator<Item = PeerId>) -> Self {
        Self {
            mode,
            roles,
            allowed: RwLock::new(allowed.into_iter().collect()),
            learnt: RwLock::default(),
        }
    }

    pub fn mode(&self) -> AuthMode {
        self.mode
    }

    pub fn allow(&self, peer: PeerId) {
        let mut allowed = self.allowed.write().unwrap_or_else(PoisonError::into_inner);
        allowed.insert(peer);
    }

    /// For connections to come; one that stands is closed with
    /// [`NetworkHandle::disconnect`](crate::NetworkHandle::disconnect).
    pub fn revoke(&self, peer: &PeerId) {
        let mut allowed = self.allowed.write().unwrap_or_else(PoisonError::into_inner);
        allowed.remove(peer);
    }

    pub fn replace(&self, peers: impl IntoIterator<Item = PeerId>) {
        let mut allowed = self.allowed.write().unwrap_or_else(PoisonError::into_inner);
        *allowed = peers.into_iter().collect();
    }

    pub fn is_listed(&self, peer: &PeerId) -> bool {
        let allowed = self.allowed.read().unwrap_or_else(PoisonError::into_inner);
        allowed.contains(peer)
    }

    /// Peers that came in without being listed, and from where; those that are listed by now left out.
    pub fn learnt(&self) -> BTreeMap<PeerId, Multiaddr> {
        let mut learnt = {
            let learnt = self.learnt.read().unwrap_or_else(PoisonError::into_inner);
            learnt.clone()
        };
        learnt.retain(|peer, _| !self.is_listed(peer));
        learnt
    }

    /// Peers that an earlier run has learnt.
    pub fn remember(&self, earlier: impl IntoIterator<Item = (PeerId, Multiaddr)>) {
        for (peer, from) in earlier {
            self.note(peer, from);
        }
    }

    /// Whether it is news.
    fn note(&self, peer: PeerId, from: Multiaddr) -> bool {
        let mut learnt = self.learnt.write().unwrap_or_else(PoisonError::into_inner);
        let room = learnt.contains_key(&peer) || learnt.len() < MAX_LEARNT;
        room && learnt.insert(peer, from).is_none()
    }
}

impl Admission for AllowList {
    fn admit(&self, peer: PeerId, from: Multiaddr) -> BoxFuture<'static, Result<Roles, Refusal>> {
        let listed = self.is_listed(&peer);
        let outcome = match self.mode {
            AuthMode::Enforce if !listed => Err(Refusal("it is not on the allow-list".into())),
            AuthMode::Learn if !listed => {
                if self.note(peer, from.clone()) {
                    tracing::info!(%peer, %from, "learnt a peer that is not on the allow-list");
                }
                Ok(self.roles)
            }
            _ => Ok(self.roles),
        };
        ready(outcome).boxed()
    }

    fn is_known(&self, peer: &PeerId) -> bool {
        self.is_listed(peer)
    }

    fn may_be_visited(&self, peer: &PeerId) -> bool {
        self.mode != AuthMode::Enforce || self.is_listed(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: Roles = Roles::NODE;

    fn decide(list: &AllowList, peer: PeerId) -> Result<Roles, Refusal> {
        let from = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        list.admit(peer, from).now_or_never().unwrap()
    }

    #[test]
    fn an_enforced_list_lets_in_who_stands_on_it_now() {
        let (friend, stranger) = (PeerId::random(), PeerId::random());
        let list = AllowList::new(AuthMode::Enforce, ROLES, [friend]);
        assert_eq!(decide(&list, friend), Ok(ROLES));
        assert!(decide(&list, stranger).is_err());
        assert!(!list.may_be_visited(&stranger));

        list.allow(stranger);
        assert_eq!(decide(&list, stranger), Ok(ROLES));
        list.revoke(&friend);
        assert!(decide(&list, friend).is_err());
        assert!(list.learnt().is_empty());
    }

    #[test]
    fn a_learning_list_lets_everybody_in_and_remembers_the_unlisted() {
        let (friend, stranger) = (PeerId::random(), PeerId::random());
        let list = AllowList::new(AuthMode::Learn, ROLES, [friend]);
        assert_eq!(decide(&list, friend), Ok(ROLES));
        assert_eq!(decide(&list, stranger), Ok(ROLES));
        assert_eq!(list.learnt().into_keys().collect::<Vec<_>>(), [stranger]);

        let later = AllowList::new(AuthMode::Learn, ROLES, []);
        later.remember(list.learnt());
        assert_eq!(later.learnt(), list.learnt());
        later.allow(stranger);
        assert!(later.learnt().is_empty());
        for _ in 0..2 * MAX_LEARNT {
            assert_eq!(decide(&list, PeerId::random()), Ok(ROLES));
        }
        assert_eq!(list.learnt().len(), MAX_LEARNT);
    }

    #[test]
    fn a_list_that_is_off_keeps_nobody_out_and_remembers_nobody() {
        let list = AllowList::new(AuthMode::Off, ROLES, []);
        assert_eq!(decide(&list, PeerId::random()), Ok(ROLES));
        assert!(list.learnt().is_empty());
    }
}
