//! Names of things that only coordinators know.

use jiff::Timestamp;
use rand::{Rng, RngExt};
use uuid::{Builder, Uuid};

pub use proto::{BlobId, FileId, NetworkId, NodeId, PeerId, UploadId};

proto::uuid_id! {
    /// A person with an account.
    UserId, "user id"
}

proto::uuid_id! {
    /// A bucket, whatever it is called.
    BucketId, "bucket id"
}

proto::uuid_id! {
    /// One version of a key, delete markers included.
    VersionId, "version id"
}

proto::uuid_id! {
    /// An object that comes in parts, until it is complete.
    MultipartId, "multipart upload id"
}

proto::uuid_id! {
    /// A login of a person, from its password to its end.
    SessionId, "session id"
}

proto::uuid_id! {
    /// A key in somebody's device that lets him in.
    PasskeyId, "passkey id"
}

/// A version 7 UUID: sorts by `now`, unique by `rng`.
pub fn uuid_v7(now: Timestamp, rng: &mut impl Rng) -> Uuid {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &rng.random()).into_uuid()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn ids_sort_by_time() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut at = |ms| uuid_v7(Timestamp::from_millisecond(ms).unwrap(), &mut rng);
        let (early, late) = (at(1_000_000), at(1_000_001));
        assert!(early < late);
        assert_eq!(early.get_version_num(), 7);
    }
}
