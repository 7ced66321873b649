//! What a gateway needs of whoever keeps objects.

use std::io;
use std::net::IpAddr;
use std::ops::Range;

use bytes::Bytes;
use futures::stream::BoxStream;
use model::bucket_rules::{BucketRules, RulesChange};
use model::ids::{MultipartId, VersionId};
use model::names::{BucketName, ContentType, ObjectKey};
use model::objects::{
    Bucket, ContentSum, Deleted, Described, ListPage, Multipart, MultipartPart, ObjectMetadata,
    ObjectPart, ObjectVersion, SumSlot, VersionRef, WriteCondition,
};
use rules::listing::{Listing, Start, VersionsStart};
use zeroize::Zeroizing;

pub type Answer<T> = Result<T, StoreError>;

/// A body, in or out.
pub type ByteStream = BoxStream<'static, io::Result<Bytes>>;

/// Why the store has not done it. Texts say what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("There is no such bucket.")]
    NoSuchBucket,
    #[error("There is no such key in the bucket.")]
    NoSuchKey,
    #[error("The key has no such version.")]
    NoSuchVersion,
    #[error("The key was deleted; its versions can be listed.")]
    Deleted(Box<ObjectVersion>),
    #[error("There is no such multipart upload: it was completed, given up, or its time was up.")]
    NoSuchUpload,
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    BucketTaken(String),
    #[error("The bucket is yours already.")]
    BucketYours,
    #[error("{0}")]
    TooManyBuckets(String),
    #[error(
        "The bucket is not empty: delete its objects, their versions, and give up its multipart uploads first."
    )]
    BucketNotEmpty,
    #[error("The object is not what the condition says. Nothing was done.")]
    ConditionFailed,
    #[error("Somebody else wrote this key at the same moment. Nothing was done; try again.")]
    Conflict,
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    NoCredit(String),
    #[error("{0}")]
    Quota(String),
    #[error("{why}")]
    Busy { why: String, retry_after: u64 },
    #[error("The body ended before it should: {0}")]
    BrokeOff(String),
    #[error("The body came too slowly.")]
    TooSlow,
    #[error("{0}")]
    Invalid(String),
    #[error("something went wrong in the store")]
    Internal(#[source] anyhow::Error),
}

/// What may be done with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights {
    pub read: bool,
    pub write: bool,
    pub list: bool,
    pub delete: bool,
}

/// What an access key stands for.
pub struct Grant<A> {
    pub account: A,
    /// What signatures are checked with.
    pub secret: Zeroizing<String>,
    pub rights: Rights,
    /// Only this bucket, and in it what begins with this.
    pub bucket: Option<String>,
    pub prefix: Option<String>,
}

/// Who asks, and from where. The signature was checked.
#[derive(Debug, Clone)]
pub struct Caller<A> {
    pub account: A,
    pub address: IpAddr,
    pub rights: Rights,
    pub bucket: Option<String>,
    pub prefix: Option<String>,
}

/// One of the rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Read,
    Write,
    List,
    Delete,
}

impl<A> Caller<A> {
    /// Whether this may be done with the bucket as a whole.
    pub fn may(&self, action: Action, bucket: &str) -> Answer<()> {
        let Rights {
            read,
            write,
            list,
            delete,
        } = self.rights;
        let (has, scope) = match action {
            Action::Read => (read, "read"),
            Action::Write => (write, "write"),
            Action::List => (list, "list"),
            Action::Delete => (delete, "delete"),
        };
        if !has {
            return Err(StoreError::Forbidden(format!(
                "The access key was made without the scope `{scope}`: use another one."
            )));
        }
        match &self.bucket {
            Some(own) if own != bucket => Err(StoreError::Forbidden(format!(
                "The access key is for the bucket {own} alone: use another one."
            ))),
            _ => Ok(()),
        }
    }

    /// Whether this may be done with all keys that begin so, or with the one key.
    pub fn may_at(&self, action: Action, bucket: &str, beginning: &str) -> Answer<()> {
        self.may(action, bucket)?;
        match &self.prefix {
            Some(prefix) if !beginning.starts_with(prefix.as_str()) => Err(StoreError::Forbidden(
                format!("The access key is for keys that begin with `{prefix}`: use another one."),
            )),
            _ => Ok(()),
        }
    }

    /// Whether this may be set for the bucket. Who publishes has to be one who may read, and who has objects deleted one who
    /// may delete: a key for writing alone is not made a stronger one.
    pub fn may_set(&self, change: &RulesChange, bucket: &str) -> Answer<()> {
        let more = match change {
            RulesChange::Lifecycle(_) => Action::Delete,
            RulesChange::Cors(_) | RulesChange::PublicRead(_) | RulesChange::IndexDocument(_) => {
                Action::Read
            }
        };
        self.may_at(more, bucket, "")?;
        self.may_at(Action::Write, bucket, "")
    }

    /// Whether the key is for everything: what is no one bucket's is not for others.
    pub fn may_everywhere(&self) -> Answer<()> {
        match &self.bucket {
            Some(own) => Err(StoreError::Forbidden(format!(
                "The access key is for the bucket {own} alone: use another one."
            ))),
            None => Ok(()),
        }
    }
}

/// An upload in parts, and the number of one.
#[derive(Debug, Clone, Copy)]
pub struct PartPlace<'a> {
    pub bucket: &'a Bucket,
    pub key: &'a ObjectKey,
    pub id: MultipartId,
    pub number: u32,
}

/// Where a list of uploads in parts goes on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Behind<'a> {
    pub key: &'a str,
    pub id: Option<MultipartId>,
}

/// Keeps buckets, and objects in them. Each call stands for itself and leaves nothing half done; buckets that are handed
/// in came from [`ObjectStore::bucket`] for the same caller.
pub trait ObjectStore: Send + Sync + 'static {
    type Account: Clone + std::fmt::Debug + Send + Sync + 'static;

    /// `None`: nobody's, or from nowhere that it may be used from.
    fn grant(
        &self,
        access_key: &str,
        from: IpAddr,
    ) -> impl Future<Output = Answer<Option<Grant<Self::Account>>>> + Send;

    /// Whose objects these are, as clients are told.
    fn owner(&self, account: &Self::Account) -> String;

    fn buckets(
        &self,
        caller: &Caller<Self::Account>,
    ) -> impl Future<Output = Answer<Vec<Bucket>>> + Send;

    /// If it is the caller's.
    fn bucket(
        &self,
        caller: &Caller<Self::Account>,
        name: &str,
    ) -> impl Future<Output = Answer<Bucket>> + Send;

    fn create_bucket(
        &self,
        caller: &Caller<Self::Account>,
        name: &BucketName,
    ) -> impl Future<Output = Answer<Bucket>> + Send;

    fn delete_bucket(&self, bucket: &Bucket) -> impl Future<Output = Answer<()>> + Send;

    fn keep_versions(&self, bucket: &Bucket, keep: bool)
    -> impl Future<Output = Answer<()>> + Send;

    /// What its owner has set for it.
    fn rules(&self, bucket: &Bucket) -> impl Future<Output = Answer<BucketRules>> + Send;

    /// Rules that are handed in have been looked at.
    fn change_rules(
        &self,
        bucket: &Bucket,
        change: RulesChange,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// What is set for a bucket, whosever it is: for browsers, which ask before they show a key.
    fn rules_of_any(
        &self,
        bucket: &str,
    ) -> impl Future<Output = Answer<Option<BucketRules>>> + Send;

    /// Somebody without a key, where anybody may read this one.
    fn anybody(
        &self,
        bucket: &str,
        key: &str,
        from: IpAddr,
    ) -> impl Future<Output = Answer<Option<Caller<Self::Account>>>> + Send;

    fn find(
        &self,
        bucket: &Bucket,
        key: &str,
        version: VersionRef,
    ) -> impl Future<Output = Answer<ObjectVersion>> + Send;

    /// What its bytes are made of, in order.
    fn parts(
        &self,
        version: &ObjectVersion,
    ) -> impl Future<Output = Answer<Vec<ObjectPart>>> + Send;

    fn read(
        &self,
        caller: &Caller<Self::Account>,
        parts: &[ObjectPart],
        range: &Range<u64>,
    ) -> impl Future<Output = Answer<ByteStream>> + Send;

    /// Stores a body, whose `sum` is filled in when it has ended; an error in it leaves nothing.
    fn put(
        &self,
        caller: &Caller<Self::Account>,
        bucket: &Bucket,
        described: Described,
        size_bytes: Option<u64>,
        sum: SumSlot,
        body: ByteStream,
    ) -> impl Future<Output = Answer<VersionId>> + Send;

    fn copy(
        &self,
        caller: &Caller<Self::Account>,
        source: &ObjectVersion,
        bucket: &Bucket,
        described: Described,
    ) -> impl Future<Output = Answer<VersionId>> + Send;

    /// The key, or one version of it for good.
    fn delete(
        &self,
        caller: &Caller<Self::Account>,
        bucket: &Bucket,
        key: &ObjectKey,
        version: VersionRef,
        condition: WriteCondition,
    ) -> impl Future<Output = Answer<Deleted>> + Send;

    fn list(
        &self,
        bucket: &Bucket,
        asked: &Listing,
    ) -> impl Future<Output = Answer<ListPage<Start>>> + Send;

    fn versions(
        &self,
        bucket: &Bucket,
        asked: &Listing,
        behind: Option<VersionId>,
    ) -> impl Future<Output = Answer<ListPage<VersionsStart>>> + Send;

    fn begin(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        content_type: &ContentType,
        metadata: &ObjectMetadata,
        checksum_algorithm: Option<&str>,
    ) -> impl Future<Output = Answer<MultipartId>> + Send;

    /// Under way, or completed lately.
    fn multipart(
        &self,
        bucket: &Bucket,
        key: &str,
        id: MultipartId,
    ) -> impl Future<Output = Answer<Multipart>> + Send;

    fn put_part(
        &self,
        caller: &Caller<Self::Account>,
        place: PartPlace<'_>,
        size_bytes: Option<u64>,
        sum: SumSlot,
        body: ByteStream,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Enters the whole of a stored part, whose bytes do not move.
    fn copy_part(
        &self,
        place: PartPlace<'_>,
        source: &ObjectPart,
        sum: ContentSum,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Those behind `after`, in order.
    fn multipart_parts(
        &self,
        bucket: &Bucket,
        key: &str,
        id: MultipartId,
        after: u32,
        limit: u32,
    ) -> impl Future<Output = Answer<Vec<MultipartPart>>> + Send;

    fn complete(
        &self,
        caller: &Caller<Self::Account>,
        bucket: &Bucket,
        multipart: &Multipart,
        parts: Vec<ObjectPart>,
        sum: ContentSum,
        condition: WriteCondition,
    ) -> impl Future<Output = Answer<VersionId>> + Send;

    fn abort(
        &self,
        bucket: &Bucket,
        key: &str,
        id: MultipartId,
    ) -> impl Future<Output = Answer<()>> + Send;

    fn multiparts(
        &self,
        bucket: &Bucket,
        prefix: &str,
        behind: Behind<'_>,
        limit: u32,
    ) -> impl Future<Output = Answer<Vec<Multipart>>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(bucket: Option<&str>, prefix: Option<&str>) -> Caller<()> {
        Caller {
            account: (),
            address: [192, 0, 2, 1].into(),
            rights: Rights {
                read: true,
                list: true,
                ..Rights::default()
            },
            bucket: bucket.map(str::to_owned),
            prefix: prefix.map(str::to_owned),
        }
    }

    #[test]
    fn a_key_may_what_its_scopes_say_and_no_more() {
        let caller = caller(None, None);
        assert!(caller.may_at(Action::Read, "any", "key").is_ok());
        assert!(caller.may(Action::List, "any").is_ok());
        assert!(caller.may_at(Action::Write, "any", "key").is_err());
        assert!(caller.may_at(Action::Delete, "any", "key").is_err());
        assert!(caller.may_everywhere().is_ok());
    }

    #[test]
    fn a_key_for_writing_alone_publishes_and_expires_nothing() {
        let mut caller = caller(None, None);
        let publish = RulesChange::PublicRead(vec![String::new()]);
        let expire = RulesChange::Lifecycle(Vec::new());
        assert!(caller.may_set(&publish, "any").is_err());
        caller.rights.write = true;
        assert!(caller.may_set(&publish, "any").is_ok());
        assert!(caller.may_set(&expire, "any").is_err());
        caller.rights.delete = true;
        assert!(caller.may_set(&expire, "any").is_ok());
        caller.rights.read = false;
        assert!(caller.may_set(&publish, "any").is_err());
        caller.prefix = Some("in/".to_owned());
        assert!(caller.may_set(&expire, "any").is_err());
    }

    #[test]
    fn a_key_for_a_place_reaches_nothing_outside_of_it() {
        let caller = caller(Some("own"), Some("in/"));
        assert!(caller.may_at(Action::Read, "own", "in/a").is_ok());
        for (bucket, key) in [("own", "out"), ("own", "in"), ("other", "in/a")] {
            assert!(
                caller.may_at(Action::Read, bucket, key).is_err(),
                "{bucket}/{key}"
            );
        }
        assert!(caller.may_at(Action::List, "own", "").is_err());
        assert!(caller.may_everywhere().is_err());
    }
}
