//! How often a share may be downloaded. A download is whatever one visitor reads within a day, in one piece or in many;
//! and all visitors together get so many bytes as the downloads have, so that nobody reads a file a hundred times as one.
//!
//! Bytes count when they are handed to the connection. What is lost there when it breaks is sent again by whoever resumes:
//! an eighth more is allowed for it. Rejected: counting requests, of which a browser makes several for one download; and
//! counting answers that came to their end, which a client that hangs up before the last byte never has.

use std::time::Duration;

/// How long a visitor is known.
pub const VISIT: Duration = Duration::from_secs(24 * 3600);

/// Visitors of one share that are known at one time, each by a token and an address. Beyond them each request counts.
pub const MOST_VISITORS: u64 = 1000;

/// What a share has been used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub downloads: u32,
    pub sent_bytes: u64,
    pub max_downloads: Option<u32>,
}

/// It has been downloaded as often as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the share has been downloaded as often as it may")]
pub struct UsedUp;

impl Usage {
    /// Whether `length` bytes of what has `size` may be sent to somebody who is known, or is not; the usage from then on.
    pub fn admit(self, size: u64, length: u64, is_known: bool) -> Result<Self, UsedUp> {
        let admitted = Self {
            downloads: self.downloads.saturating_add(u32::from(!is_known)),
            sent_bytes: self.sent_bytes.saturating_add(length),
            ..self
        };
        let Some(most) = self.max_downloads else {
            return Ok(admitted);
        };
        let fits = admitted.downloads <= most && admitted.sent_bytes <= most_bytes(most, size);
        fits.then_some(admitted).ok_or(UsedUp)
    }

    /// Downloads that are left; `None` without an end to them.
    pub fn left(self) -> Option<u32> {
        let most = self.max_downloads?;
        Some(most.saturating_sub(self.downloads))
    }
}

/// Of so many downloads of what has this size.
fn most_bytes(downloads: u32, size: u64) -> u64 {
    let all = size.saturating_mul(downloads.into());
    all.saturating_add(all / 8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TWICE: Usage = Usage {
        downloads: 0,
        sent_bytes: 0,
        max_downloads: Some(2),
    };

    #[test]
    fn what_one_visitor_reads_in_pieces_is_one_download() {
        let one = TWICE.admit(800, 400, false).unwrap();
        let one = one.admit(800, 400, true).unwrap();
        assert_eq!((one.downloads, one.left()), (1, Some(1)));
        let two = one.admit(800, 800, false).unwrap();
        assert_eq!(two.left(), Some(0));
        assert_eq!(two.admit(800, 1, false), Err(UsedUp));
    }

    #[test]
    fn one_visitor_does_not_read_more_than_all_may() {
        let all = TWICE.admit(800, 800, false).unwrap();
        let all = all.admit(800, 800, true).unwrap();
        assert_eq!(all.admit(800, 800, true), Err(UsedUp));
        assert!(
            all.admit(800, 200, true).is_ok(),
            "what was lost on the way"
        );
        assert_eq!(all.admit(800, 201, true), Err(UsedUp));
    }

    proptest! {
        #[test]
        fn no_sequence_of_requests_gets_more_than_its_share(
            requests in proptest::collection::vec((0..=1000_u64, any::<bool>()), 0..100),
            most in 1..10_u32,
        ) {
            let mut usage = Usage { max_downloads: Some(most), ..TWICE };
            let mut sent = 0;
            for (length, is_known) in requests {
                if let Ok(admitted) = usage.admit(1000, length, is_known) {
                    usage = admitted;
                    sent += length;
                }
            }
            prop_assert!(sent <= u64::from(most) * 1125);
            prop_assert!(usage.downloads <= most);
        }
    }

    #[test]
    fn without_an_end_downloads_are_counted_and_sizes_do_not_overflow() {
        let endless = Usage {
            max_downloads: None,
            ..TWICE
        };
        let used = endless.admit(u64::MAX, u64::MAX, false).unwrap();
        let used = used.admit(u64::MAX, u64::MAX, false).unwrap();
        assert_eq!((used.downloads, used.left()), (2, None));
        assert!(TWICE.admit(u64::MAX, u64::MAX, false).is_ok());
    }
}
