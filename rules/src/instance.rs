//! Which copy of a node's data directory is the node.
//!
//! A copied directory has the same identity, and both copies can be started. Each would sign for what the other one has
//! not. So a node says which *instance* it is: a number that each start takes anew once a coordinator has taken the one before,
//! and the numbers before it. What was stored last is then either this one or one before it, and the node goes on;
//! or it is a number that this copy has never heard of, and another copy went on from there.

use proto::{Instance, InstanceId};

/// Why an instance is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Elsewhere {
    #[error(
        "this node is connected from elsewhere: from another process, or a copy of its data directory. If that one was stopped \
         a moment ago, this one is let in within 20 s. Two copies lose each other's blobs: stop one and delete it. For a second \
         node: `storage-node init` with an empty --data-dir"
    )]
    Connected,
    #[error(
        "a copy of this data directory has been in use since this one was, and holds blobs that this one does not. Start \
         that copy and delete this one. If it is lost, run `storage-node init` here, and this one counts from then on. For a \
         second node: `storage-node init` with an empty --data-dir"
    )]
    Overtaken,
}

/// Whether this instance is the node from now on. `known` is the one that was taken last; `connected` another one that
/// is connected and heard of now.
pub fn judge(
    known: Option<InstanceId>,
    connected: Option<InstanceId>,
    said: &Instance,
) -> Result<(), Elsewhere> {
    match known {
        Some(known) if known == said.id => return Ok(()),
        Some(known) if !said.earlier.contains(&known) => return Err(Elsewhere::Overtaken),
        _ => {}
    }
    match connected {
        Some(connected) if connected != said.id => Err(Elsewhere::Connected),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> InstanceId {
        InstanceId::from_bytes([number; 16])
    }

    fn said(number: u8, earlier: &[u8]) -> Instance {
        Instance {
            id: id(number),
            earlier: earlier.iter().copied().map(id).collect(),
        }
    }

    #[test]
    fn a_node_that_comes_for_the_first_time_is_taken() {
        assert_eq!(judge(None, None, &said(1, &[])), Ok(()));
    }

    #[test]
    fn a_node_that_connects_again_or_was_restarted_or_moved_goes_on() {
        assert_eq!(judge(Some(id(1)), None, &said(1, &[])), Ok(()));
        assert_eq!(judge(Some(id(1)), Some(id(1)), &said(1, &[])), Ok(()));
        assert_eq!(judge(Some(id(1)), None, &said(2, &[1])), Ok(()));
        // The database is from a backup, and the node has been restarted a few times since.
        assert_eq!(judge(Some(id(1)), None, &said(4, &[1, 2, 3])), Ok(()));
    }

    #[test]
    fn of_two_copies_the_second_is_refused_whichever_it_is() {
        let (original, copy) = (said(2, &[1]), said(3, &[1]));
        for (first, second) in [(&original, &copy), (&copy, &original)] {
            assert_eq!(judge(Some(id(1)), None, first), Ok(()));
            let refused = judge(Some(first.id), Some(first.id), second);
            assert_eq!(refused, Err(Elsewhere::Overtaken));
            assert_eq!(
                judge(Some(first.id), None, second),
                Err(Elsewhere::Overtaken)
            );
        }
    }

    #[test]
    fn a_copy_of_a_running_node_waits_until_that_one_is_gone() {
        let copy = said(2, &[1]);
        let running = judge(Some(id(1)), Some(id(1)), &copy);
        assert_eq!(running, Err(Elsewhere::Connected));
        assert_eq!(judge(Some(id(1)), None, &copy), Ok(()));
        // Registered anew meanwhile: which one is known counts no more, and which one is here does.
        assert_eq!(judge(None, Some(id(1)), &copy), Err(Elsewhere::Connected));
    }

    #[test]
    fn what_a_refused_node_reads_arrives_uncut() {
        for refusal in [Elsewhere::Connected, Elsewhere::Overtaken] {
            let said = refusal.to_string();
            assert!(said.len() <= 512, "{} bytes: {said}", said.len());
            assert!(said.contains("storage-node init"), "{said}");
        }
    }
}
