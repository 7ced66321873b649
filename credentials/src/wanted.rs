//! What somebody wants a new access key to be, checked.

use jiff::Timestamp;
use proto::MicroCredits;

use crate::access_key::AllowedAddresses;
use crate::scope::Scopes;

/// Characters of a name.
const LONGEST_NAME: usize = 100;
/// Bytes of a prefix.
const LONGEST_PREFIX: usize = 1024;
/// Characters of a bucket's name.
const BUCKET_NAME: std::ops::RangeInclusive<usize> = 3..=63;
/// Bytes a day, beyond which a cap is none.
const MOST_BYTES: u64 = 1 << 60;
/// Credits a day, likewise.
const MOST_CREDITS: u64 = 1_000_000_000;
const MICROCREDITS: i64 = 1_000_000;

/// A key that may be made.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What its owner knows it by.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// Where: everywhere, or in one bucket.
    pub bucket: Option<String>,
    /// In that bucket, what begins with this.
    pub prefix: Option<String>,
    /// Until when.
    pub expires_at: Option<Timestamp>,
    /// From where.
    pub allowed: AllowedAddresses,
    /// Whether it is to sign requests.
    pub s3: bool,
    /// Sent and fetched on one day.
    pub bytes_per_day: Option<u64>,
    /// Spent on one day.
    pub spend_per_day: Option<MicroCredits>,
    /// Of all that was asked for, to tell a repetition from another request.
    pub request_hash: [u8; 32],
}

/// Why there can be no such key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WantedError {
    #[error("`name` has 1 to {LONGEST_NAME} characters, and no control characters")]
    #[allow(missing_docs)]
    Name,
    #[error("`bucket` has 3 to 63 characters: a-z, 0-9, dot and hyphen")]
    #[allow(missing_docs)]
    Bucket,
    #[error("`prefix` has at most {LONGEST_PREFIX} bytes and no NUL, and needs a `bucket`")]
    #[allow(missing_docs)]
    Prefix,
    #[error("`expires_at` has passed already")]
    #[allow(missing_docs)]
    Expired,
    #[error("`bytes_per_day` is 1 to {MOST_BYTES}")]
    #[allow(missing_docs)]
    Bytes,
    #[error("`credits_per_day` is 1 to {MOST_CREDITS}")]
    #[allow(missing_docs)]
    Credits,
}

/// Whole credits as an amount.
pub fn credits(count: u64) -> Result<MicroCredits, WantedError> {
    let count = (1..=MOST_CREDITS).contains(&count).then_some(count);
    let count = count.and_then(|count| i64::try_from(count).ok());
    let amount = count.and_then(|count| count.checked_mul(MICROCREDITS));
    amount.map(MicroCredits::new).ok_or(WantedError::Credits)
}

/// As whole credits again.
pub fn to_credits(amount: MicroCredits) -> u64 {
    (amount.get() / MICROCREDITS).unsigned_abs()
}

impl Wanted {
    /// What is sound by itself; scopes, addresses and credits were checked as they were read.
    pub fn check(self, now: Timestamp) -> Result<Self, WantedError> {
        let is_text = |text: &str| !text.chars().any(char::is_control);
        let characters = self.name.chars().count();
        if !(1..=LONGEST_NAME).contains(&characters) || !is_text(&self.name) {
            return Err(WantedError::Name);
        }
        let of_bucket =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let is_bucket =
            |name: &String| BUCKET_NAME.contains(&name.len()) && name.bytes().all(of_bucket);
        if !self.bucket.as_ref().is_none_or(is_bucket) {
            return Err(WantedError::Bucket);
        }
        let is_prefix = |text: &String| text.len() <= LONGEST_PREFIX && !text.contains('\0');
        let sound = self.prefix.as_ref().is_none_or(is_prefix);
        if !sound || (self.prefix.is_some() && self.bucket.is_none()) {
            return Err(WantedError::Prefix);
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            return Err(WantedError::Expired);
        }
        if self
            .bytes_per_day
            .is_some_and(|bytes| !(1..=MOST_BYTES).contains(&bytes))
        {
            return Err(WantedError::Bytes);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            name: "backup of the laptop".to_owned(),
            scopes: Scopes::ALL,
            bucket: Some("photos".to_owned()),
            prefix: Some("2026/".to_owned()),
            expires_at: Some(Timestamp::from_second(101).unwrap()),
            allowed: AllowedAddresses::default(),
            s3: false,
            bytes_per_day: Some(1),
            spend_per_day: None,
            request_hash: [0; 32],
        }
    }

    fn refused(change: impl FnOnce(&mut Wanted)) -> Option<WantedError> {
        let mut wanted = wanted();
        change(&mut wanted);
        wanted.check(Timestamp::from_second(100).unwrap()).err()
    }

    #[test]
    fn what_cannot_be_a_key_is_named() {
        assert_eq!(refused(|_| {}), None);
        for name in ["", "a\nb", &"é".repeat(101)] {
            assert_eq!(
                refused(|w| w.name = name.to_owned()),
                Some(WantedError::Name)
            );
        }
        for bucket in ["ab", "Photos", "a/b", &"a".repeat(64)] {
            assert_eq!(
                refused(|w| w.bucket = Some(bucket.to_owned())),
                Some(WantedError::Bucket)
            );
        }
        assert_eq!(refused(|w| w.bucket = None), Some(WantedError::Prefix));
        assert_eq!(
            refused(|w| w.prefix = Some("\0".to_owned())),
            Some(WantedError::Prefix)
        );
        let now = Timestamp::from_second(100).unwrap();
        assert_eq!(
            refused(|w| w.expires_at = Some(now)),
            Some(WantedError::Expired)
        );
        for bytes in [0, u64::MAX] {
            assert_eq!(
                refused(|w| w.bytes_per_day = Some(bytes)),
                Some(WantedError::Bytes)
            );
        }
    }

    #[test]
    fn credits_are_whole_and_bounded() {
        assert_eq!(credits(5).map(to_credits), Ok(5));
        assert_eq!(credits(5).map(MicroCredits::get), Ok(5_000_000));
        for count in [0, MOST_CREDITS + 1, u64::MAX] {
            assert_eq!(credits(count), Err(WantedError::Credits));
        }
    }
}
