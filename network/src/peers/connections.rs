//! Which of several connections to one peer stay. Pure; both sides come to the same answer.

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub id: ConnectionId,
    pub addr: Multiaddr,
    /// By us.
    pub dialled: bool,
    /// Opened to ask something, not to stay: it replaces nothing and nothing replaces it.
    pub visit: bool,
}

/// The connections that others have taken the place of: of one direction the newest stays; of both,
/// those that the peer with the smaller id has dialled.
pub(super) fn superseded(
    local: &PeerId,
    peer: &PeerId,
    connections: &[Connection],
) -> Vec<ConnectionId> {
    let staying: Vec<&Connection> = connections.iter().filter(|c| !c.visit).collect();
    let ours_win = local < peer;
    let both = staying.iter().any(|c| c.dialled) && staying.iter().any(|c| !c.dialled);
    let eligible = |c: &&&Connection| !both || c.dialled == ours_win;
    let Some(winner) = staying.iter().rfind(eligible).map(|c| c.id) else {
        return Vec::new();
    };
    let others = staying.iter().filter(|c| c.id != winner);
    others.map(|c| c.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(number: usize, dialled: bool, visit: bool) -> Connection {
        Connection {
            id: ConnectionId::new_unchecked(number),
            addr: "/ip4/192.0.2.1/tcp/1".parse().unwrap(),
            dialled,
            visit,
        }
    }

    fn peers() -> (PeerId, PeerId) {
        let (one, other) = (PeerId::random(), PeerId::random());
        (one.min(other), one.max(other))
    }

    fn ids(numbers: &[usize]) -> Vec<ConnectionId> {
        let ids = numbers.iter().copied();
        ids.map(ConnectionId::new_unchecked).collect()
    }

    #[test]
    fn of_connections_in_one_direction_the_newest_stays() {
        let (small, great) = peers();
        for dialled in [true, false] {
            let all = [1, 2, 3].map(|number| connection(number, dialled, false));
            assert_eq!(superseded(&small, &great, &all), ids(&[1, 2]));
            assert_eq!(superseded(&great, &small, &all[..1]), ids(&[]));
        }
    }

    #[test]
    fn of_a_simultaneous_dial_both_sides_keep_the_one_of_the_smaller_peer() {
        let (small, great) = peers();
        // 1 was dialled by the smaller peer; each side may see them in another order.
        let at_small = [connection(1, true, false), connection(2, false, false)];
        let at_great = [connection(2, true, false), connection(1, false, false)];
        assert_eq!(superseded(&small, &great, &at_small), ids(&[2]));
        assert_eq!(superseded(&great, &small, &at_great), ids(&[2]));
    }

    #[test]
    fn a_visit_neither_replaces_nor_is_replaced() {
        let (small, great) = peers();
        let all = [connection(1, true, false), connection(2, false, true)];
        assert_eq!(superseded(&small, &great, &all), ids(&[]));
        assert_eq!(superseded(&great, &small, &all), ids(&[]));
        assert_eq!(superseded(&great, &small, &all[1..]), ids(&[]));
    }
}
