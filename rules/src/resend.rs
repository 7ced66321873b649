//! Chunks of an open upload that are sent once more. The first time is paid for with the file; each further time moves
//! the same bytes to nodes again, and is charged and bounded.

use proto::MicroCredits;

use model::money::{AmountTooLarge, PricePerGbMonth};
use model::scheme::Scheme;

/// What of a chunk stands already when it comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// With all its copies, and this content.
    Same,
    /// With all its copies, and other content.
    Other,
    /// A copy was lost since: `complete` asks for it.
    Incomplete,
}

/// What is done about a chunk that comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    /// It is there: it is acknowledged and moves nothing.
    Acknowledge,
    /// It goes to nodes again, and counts towards the limit.
    Store { charged: bool },
}

impl Standing {
    pub const fn resend(self) -> Resend {
        match self {
            Self::Same => Resend::Acknowledge,
            Self::Other => Resend::Store { charged: true },
            // The client has done its part.
            Self::Incomplete => Resend::Store { charged: false },
        }
    }
}

/// How many chunks one upload takes again: each one once, and a few.
pub const fn most_resends(chunk_count: u64) -> u64 {
    chunk_count.saturating_add(16)
}

/// What a chunk costs that is sent again: as much as storing it for a month.
pub fn price(
    price: PricePerGbMonth,
    length: u32,
    scheme: Scheme,
) -> Result<MicroCredits, AmountTooLarge> {
    price.first_month(u64::from(length), scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_other_content_pays_and_who_repeats_himself_moves_nothing() {
        assert_eq!(Standing::Same.resend(), Resend::Acknowledge);
        assert_eq!(Standing::Other.resend(), Resend::Store { charged: true });
    }

    #[test]
    fn a_copy_that_a_node_lost_is_not_the_clients_to_pay() {
        let resend = Standing::Incomplete.resend();
        assert_eq!(resend, Resend::Store { charged: false });
    }

    #[test]
    fn an_upload_takes_each_chunk_once_more_and_a_few() {
        assert_eq!(most_resends(1), 17);
        assert_eq!(most_resends(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_chunk_costs_a_month_of_its_copies_rounded_up() {
        let list = PricePerGbMonth::from_microcredits(1_250_000);
        let cost = |length| price(list, length, Scheme::copies(3)).unwrap().get();
        assert_eq!((cost(1), cost(262_144)), (1, 984));
    }
}
