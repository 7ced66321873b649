//! Every choice of nodes that the rules allow, the best first, until one is complete.
//!
//! Taking the best node each time can use up a domain that the only complete choice needs for others. So where that fails,
//! choices are gone through: a node is taken, or left out, and what cannot become complete any more is given up early.
//! Complete for a dozen nodes, where that matters; for large fleets, which have a choice on the way, steps are bounded.
//!
//! Rejected: a flow or an integer programme. Three kinds of domains at once make the question hard in general, and a fleet
//! for which some thousand steps find nothing is better told so.

use proto::NodeId;

use super::{Candidate, Occupied, Request, Score};

/// Nodes that are looked at, all in all. All subsets of 12 nodes are 4096.
const STEPS: u32 = 20_000;

pub(super) fn find(
    roomy: &[(Score, &Candidate)],
    request: &Request<'_>,
    newcomers: usize,
) -> Option<Vec<NodeId>> {
    let mut search = Search {
        roomy,
        request,
        steps: STEPS,
        chosen: Vec::with_capacity(request.count),
    };
    search
        .go_on(0, Occupied::new(request), newcomers)
        .then_some(search.chosen)
}

struct Search<'a, 'r> {
    roomy: &'a [(Score, &'a Candidate)],
    request: &'a Request<'r>,
    steps: u32,
    chosen: Vec<NodeId>,
}

impl<'a> Search<'a, 'a> {
    /// Whether what is chosen becomes complete with nodes from `at` on. Not deeper than there are pieces.
    fn go_on(&mut self, at: usize, occupied: Occupied<'a>, newcomers: usize) -> bool {
        let missing = self.request.count - self.chosen.len();
        if missing == 0 {
            return true;
        }
        for next in at..self.roomy.len() {
            if self.roomy.len() - next < missing || self.steps == 0 {
                return false;
            }
            self.steps -= 1;
            let candidate = self.roomy[next].1;
            let is_allowed = candidate.vetted || newcomers > 0;
            let is_apart = !self.request.distinct_domains || occupied.is_free(&candidate.domains);
            if !is_allowed || !is_apart {
                continue;
            }
            let mut with_it = occupied.clone();
            with_it.take(&candidate.domains);
            let left = newcomers - usize::from(!candidate.vetted && newcomers < usize::MAX);
            self.chosen.push(candidate.node_id);
            if self.go_on(next + 1, with_it, left) {
                return true;
            }
            self.chosen.pop();
        }
        false
    }
}
