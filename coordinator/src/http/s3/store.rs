//! The objects of this coordinator, as the gateway asks for them. It implements the trait and no more.

use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use credentials::scope::{Scope, Scopes};
use futures::TryStreamExt;
use gateway::ObjectStore;
use gateway::store::{Answer, Behind, ByteStream, Caller, Grant, PartPlace, Rights, StoreError};
use limits::memory::Holder;
use model::bucket_rules::{BucketRules, RulesChange};
use model::ids::{MultipartId, UserId, VersionId};
use model::names::{BucketName, ContentType, ObjectKey};
use model::objects::{
    Bucket, ContentSum, Deleted, Described, ListPage, Multipart, MultipartPart, Names,
    ObjectMetadata, ObjectPart, ObjectVersion, SumSlot, VersionRef, Versioning, WriteCondition,
};
use model::terms::Terms;
use proto::MicroCredits;
use rules::listing::{Listing, Start, VersionsStart};
use zeroize::Zeroizing;

use super::errors::{of, of_cap, of_key, of_problem};
use crate::accounts::principal::{self, Principal};
use crate::accounts::{Accounts, key_login};
use crate::files::upload::UploadError;
use crate::http::problem::Problem;
use crate::objects::bucket_rules::{self, RulesError};
use crate::objects::{self, Objects, buckets, copy, delete, get, listing, multipart, put};

pub(super) struct CoordinatorStore {
    pub objects: Arc<Objects>,
    pub accounts: Arc<Accounts>,
}

pub(in crate::http) fn rights_of(scopes: Scopes) -> Rights {
    Rights {
        read: scopes.contains(Scope::Read),
        write: scopes.contains(Scope::Write),
        list: scopes.contains(Scope::List),
        delete: scopes.contains(Scope::Delete),
    }
}

/// Whose objects are asked for, and by which key of the account; by none where anybody may read.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Account {
    pub user_id: UserId,
    key: Option<Principal>,
}

impl Account {
    fn is_capped(&self) -> bool {
        self.key.is_some_and(|key| key.is_capped())
    }
}

fn holder(caller: &Caller<Account>) -> Holder {
    Holder {
        account: caller.account.user_id,
        address: caller.address,
    }
}

impl CoordinatorStore {
    /// Counts what is sent, fetched or spent with a key that has a cap for each day.
    async fn charge(&self, caller: &Caller<Account>, bytes: u64, cost: MicroCredits) -> Answer<()> {
        let Some(key) = caller.account.key.filter(Principal::is_capped) else {
            return Ok(());
        };
        let charged = key_login::charge(&self.accounts, &key, bytes, cost).await;
        charged.map_err(of_cap)
    }

    async fn charge_body(
        &self,
        caller: &Caller<Account>,
        size_bytes: Option<u64>,
        terms: impl Fn(u64) -> Terms + Send,
    ) -> Answer<()> {
        if !caller.account.is_capped() {
            return Ok(());
        }
        let Some(bytes) = size_bytes else {
            return Err(StoreError::Invalid(
                "The access key has a cap for each day: send the length of the body.".to_owned(),
            ));
        };
        let files = &self.objects.files;
        let cost = files
            .billing
            .priced(terms(bytes), bytes, files.blobs.copies())
            .month();
        let cost = cost.map_err(|error| of_problem(&Problem::from(UploadError::from(error))))?;
        self.charge(caller, bytes, cost).await
    }
}

impl ObjectStore for CoordinatorStore {
    type Account = Account;

    async fn grant(&self, access_key: &str, from: IpAddr) -> Answer<Option<Grant<Account>>> {
        let found = match key_login::signing_key(&self.accounts, access_key, from).await {
            Ok(found) => found,
            Err(refused) => return of_key(refused).map_or(Ok(None), Err),
        };
        let principal::Rights::Key(own) = found.principal.rights else {
            return Ok(None); // a key's rights are those of a key
        };
        Ok(Some(Grant {
            account: Account {
                user_id: found.principal.user_id,
                key: Some(found.principal),
            },
            secret: Zeroizing::new(found.secret.expose().to_owned()),
            rights: rights_of(own.scopes),
            bucket: found.bucket,
            prefix: found.prefix,
        }))
    }

    fn owner(&self, account: &Account) -> String {
        account.user_id.to_string()
    }

    async fn buckets(&self, caller: &Caller<Account>) -> Answer<Vec<Bucket>> {
        let user = caller.account.user_id;
        buckets::list(&self.objects, user).await.map_err(of)
    }

    async fn bucket(&self, caller: &Caller<Account>, name: &str) -> Answer<Bucket> {
        let user = caller.account.user_id;
        self.objects.bucket(user, name).await.map_err(of)
    }

    async fn create_bucket(&self, caller: &Caller<Account>, name: &BucketName) -> Answer<Bucket> {
        let user = caller.account.user_id;
        buckets::create(&self.objects, user, name, (Versioning::Off, Names::Plain))
            .await
            .map_err(of)
    }

    async fn delete_bucket(&self, bucket: &Bucket) -> Answer<()> {
        buckets::delete(&self.objects, bucket).await.map_err(of)
    }

    async fn keep_versions(&self, bucket: &Bucket, keep: bool) -> Answer<()> {
        let kept = buckets::keep_versions(&self.objects, bucket, keep).await;
        kept.map_err(of)
    }

    async fn rules(&self, bucket: &Bucket) -> Answer<BucketRules> {
        bucket_rules::of(&self.objects, bucket).await.map_err(of)
    }

    async fn change_rules(&self, bucket: &Bucket, change: RulesChange) -> Answer<()> {
        let changed = bucket_rules::change(&self.objects, bucket, &change).await;
        changed.map_err(|error| match error {
            RulesError::Invalid(error) => StoreError::Invalid(error.to_string()),
            RulesError::Object(error) => of(error),
        })
    }

    async fn rules_of_any(&self, bucket: &str) -> Answer<Option<BucketRules>> {
        let found = bucket_rules::of_any(&self.objects, bucket).await;
        Ok(found.map_err(of)?.map(|(_, rules)| rules))
    }

    async fn anybody(
        &self,
        bucket: &str,
        key: &str,
        from: IpAddr,
    ) -> Answer<Option<Caller<Account>>> {
        let found = bucket_rules::of_any(&self.objects, bucket)
            .await
            .map_err(of)?;
        let found = found.filter(|(_, rules)| rules.is_public(key));
        Ok(found.map(|(bucket, _)| Caller {
            account: Account {
                user_id: bucket.owner,
                key: None,
            },
            address: from,
            rights: Rights {
                read: true,
                ..Rights::default()
            },
            bucket: Some(bucket.name),
            prefix: Some(key.to_owned()),
        }))
    }

    async fn find(&self, bucket: &Bucket, key: &str, version: VersionRef) -> Answer<ObjectVersion> {
        get::find(&self.objects, bucket, key, version)
            .await
            .map_err(of)
    }

    async fn parts(&self, version: &ObjectVersion) -> Answer<Vec<ObjectPart>> {
        get::parts(&self.objects, version).await.map_err(of)
    }

    async fn read(
        &self,
        caller: &Caller<Account>,
        parts: &[ObjectPart],
        range: &Range<u64>,
    ) -> Answer<ByteStream> {
        let bytes = range.end - range.start;
        self.charge(caller, bytes, MicroCredits::ZERO).await?;
        let owner = caller.account.user_id;
        let read = get::read(&self.objects, owner, parts, range, holder(caller)).await;
        Ok(Box::pin(read.map_err(of)?.map_err(io::Error::other)))
    }

    async fn put(
        &self,
        caller: &Caller<Account>,
        bucket: &Bucket,
        described: Described,
        size_bytes: Option<u64>,
        sum: SumSlot,
        body: ByteStream,
    ) -> Answer<VersionId> {
        let terms = |bytes| described.terms(bytes);
        self.charge_body(caller, size_bytes, terms).await?;
        let holder = holder(caller);
        let stored = put::put(
            &self.objects,
            holder,
            bucket,
            described,
            size_bytes,
            sum,
            body,
        );
        stored.await.map_err(of)
    }

    async fn copy(
        &self,
        caller: &Caller<Account>,
        source: &ObjectVersion,
        bucket: &Bucket,
        described: Described,
    ) -> Answer<VersionId> {
        let terms = |bytes| described.terms(bytes);
        self.charge_body(caller, Some(0), terms).await?;
        let copied = copy::copy(&self.objects, holder(caller), source, bucket, described).await;
        copied.map_err(of)
    }

    async fn delete(
        &self,
        caller: &Caller<Account>,
        bucket: &Bucket,
        key: &ObjectKey,
        version: VersionRef,
        condition: WriteCondition,
    ) -> Answer<Deleted> {
        let objects = &self.objects;
        let deleted = match version {
            VersionRef::Latest => {
                delete::key(objects, holder(caller), bucket, key, condition).await
            }
            version => delete::version(objects, bucket, key, version, &condition).await,
        };
        deleted.map_err(of)
    }

    async fn list(&self, bucket: &Bucket, asked: &Listing) -> Answer<ListPage<Start>> {
        listing::keys(&self.objects, bucket, asked)
            .await
            .map_err(of)
    }

    async fn versions(
        &self,
        bucket: &Bucket,
        asked: &Listing,
        behind: Option<VersionId>,
    ) -> Answer<ListPage<VersionsStart>> {
        let listed = listing::versions(&self.objects, bucket, asked, behind).await;
        listed.map_err(of)
    }

    async fn begin(
        &self,
        bucket: &Bucket,
        key: &ObjectKey,
        content_type: &ContentType,
        metadata: &ObjectMetadata,
        checksum_algorithm: Option<&str>,
    ) -> Answer<MultipartId> {
        let objects = &self.objects;
        let begun = multipart::begin(
            objects,
            bucket,
            key,
            content_type,
            metadata,
            checksum_algorithm,
        );
        begun.await.map_err(of)
    }

    async fn multipart(&self, bucket: &Bucket, key: &str, id: MultipartId) -> Answer<Multipart> {
        multipart::find(&self.objects, bucket, key, id)
            .await
            .map_err(of)
    }

    async fn put_part(
        &self,
        caller: &Caller<Account>,
        place: PartPlace<'_>,
        size_bytes: Option<u64>,
        sum: SumSlot,
        body: ByteStream,
    ) -> Answer<()> {
        let terms = |bytes| Terms::beside(place.key.as_str().len(), bytes);
        self.charge_body(caller, size_bytes, terms).await?;
        let place = own(place);
        let holder = holder(caller);
        let stored = multipart::put_part(&self.objects, holder, &place, size_bytes, sum, body);
        stored.await.map_err(of)
    }

    async fn copy_part(
        &self,
        place: PartPlace<'_>,
        source: &ObjectPart,
        sum: ContentSum,
    ) -> Answer<()> {
        let copied = multipart::copy_part(&self.objects, &own(place), source, sum).await;
        copied.map_err(of)
    }

    async fn multipart_parts(
        &self,
        bucket: &Bucket,
        key: &str,
        id: MultipartId,
        after: u32,
        limit: u32,
    ) -> Answer<Vec<MultipartPart>> {
        let limit = i64::from(limit);
        let parts = multipart::parts(&self.objects, bucket, key, id, after, limit).await;
        parts.map(|(_, parts)| parts).map_err(of)
    }

    async fn complete(
        &self,
        caller: &Caller<Account>,
        bucket: &Bucket,
        multipart: &Multipart,
        parts: Vec<ObjectPart>,
        sum: ContentSum,
        condition: WriteCondition,
    ) -> Answer<VersionId> {
        let (objects, holder) = (&self.objects, holder(caller));
        let completed =
            objects::multipart::complete(objects, holder, bucket, multipart, parts, sum, condition);
        completed.await.map_err(of)
    }

    async fn abort(&self, bucket: &Bucket, key: &str, id: MultipartId) -> Answer<()> {
        multipart::abort(&self.objects, bucket, key, id)
            .await
            .map_err(of)
    }

    async fn multiparts(
        &self,
        bucket: &Bucket,
        prefix: &str,
        behind: Behind<'_>,
        limit: u32,
    ) -> Answer<Vec<Multipart>> {
        let behind = (behind.key, behind.id);
        let listed = multipart::list(&self.objects, bucket, prefix, behind, i64::from(limit)).await;
        listed.map_err(of)
    }
}

fn own(place: PartPlace<'_>) -> multipart::PartPlace<'_> {
    multipart::PartPlace {
        bucket: place.bucket,
        key: place.key,
        id: place.id,
        number: place.number,
    }
}
