//! What owners set for their buckets: CORS rules, how long objects are kept, what anybody may read, an index document.
//!
//! What S3 has besides and is not kept here is refused, never passed over: a rule that says less than was asked for would
//! delete too much, or too little.

use model::bucket_rules::{self as kept, BucketRules, RulesChange};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::errors::{invalid, not_served, of_store};
use super::face::{CallerOf, Face, On};
use super::stubs::owner_alone;
use crate::store::{Action, ObjectStore};

impl<S: ObjectStore> Face<S> {
    async fn rules(&self, caller: &CallerOf<S>, bucket: &str) -> S3Result<BucketRules> {
        let bucket = self.bucket(caller, Action::List, bucket).await?;
        self.store.rules(&bucket).await.map_err(of_store)
    }

    pub(super) async fn set(
        &self,
        caller: &CallerOf<S>,
        bucket: &str,
        change: RulesChange,
    ) -> S3Result<()> {
        caller.may_set(&change, bucket).map_err(of_store)?;
        let bucket = self.bucket_at(caller, Action::Write, bucket, "").await?;
        change.check().map_err(invalid)?;
        let set = self.store.change_rules(&bucket, change).await;
        set.map_err(of_store)
    }
}

fn nothing_set(code: S3ErrorCode) -> S3Error {
    let mut error = S3Error::with_message(code, "Nothing of the kind is set for this bucket.");
    error.set_status_code(http::StatusCode::NOT_FOUND);
    error
}

fn cors_kept(rule: CORSRule) -> S3Result<kept::CorsRule> {
    let seconds = rule.max_age_seconds.map(u32::try_from).transpose();
    Ok(kept::CorsRule {
        id: rule.id,
        origins: rule.allowed_origins,
        methods: rule.allowed_methods,
        headers: rule.allowed_headers.unwrap_or_default(),
        exposed: rule.expose_headers.unwrap_or_default(),
        max_age_seconds: seconds.map_err(|_| invalid("MaxAgeSeconds is not negative"))?,
    })
}

fn cors_told(rule: kept::CorsRule) -> CORSRule {
    let some = |texts: Vec<String>| (!texts.is_empty()).then_some(texts);
    CORSRule {
        id: rule.id,
        allowed_origins: rule.origins,
        allowed_methods: rule.methods,
        allowed_headers: some(rule.headers),
        expose_headers: some(rule.exposed),
        max_age_seconds: rule.max_age_seconds.and_then(|age| i32::try_from(age).ok()),
    }
}

impl<S: ObjectStore> On<PutBucketCorsInput, PutBucketCorsOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<PutBucketCorsInput>,
    ) -> S3Result<S3Response<PutBucketCorsOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        let rules = input.cors_configuration.cors_rules.into_iter();
        let rules = rules.map(cors_kept).collect::<S3Result<_>>()?;
        self.set(&caller, &input.bucket, RulesChange::Cors(rules))
            .await?;
        Ok(S3Response::new(PutBucketCorsOutput::default()))
    }
}

impl<S: ObjectStore> On<GetBucketCorsInput, GetBucketCorsOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<GetBucketCorsInput>,
    ) -> S3Result<S3Response<GetBucketCorsOutput>> {
        let caller = self.caller(&request)?;
        let rules = self.rules(&caller, &request.input.bucket).await?.cors;
        if rules.is_empty() {
            return Err(nothing_set(S3ErrorCode::NoSuchCORSConfiguration));
        }
        Ok(S3Response::new(GetBucketCorsOutput {
            cors_rules: Some(rules.into_iter().map(cors_told).collect()),
        }))
    }
}

/// Nothing but a beginning of keys.
fn prefix_of(filter: Option<LifecycleRuleFilter>, old: Option<String>) -> S3Result<String> {
    const OTHERS: &str =
        "A lifecycle rule is for a prefix here, and neither for tags nor for sizes.";
    let Some(filter) = filter else {
        return Ok(old.unwrap_or_default());
    };
    let (mut prefix, and) = (filter.prefix, filter.and);
    let mut others = filter.tag.is_some()
        || filter.object_size_greater_than.is_some()
        || filter.object_size_less_than.is_some();
    if let Some(and) = and {
        others |= and.tags.is_some_and(|tags| !tags.is_empty())
            || and.object_size_greater_than.is_some()
            || and.object_size_less_than.is_some();
        prefix = prefix.or(and.prefix);
    }
    match others {
        true => Err(not_served(OTHERS)),
        false => Ok(prefix.unwrap_or_default()),
    }
}

fn lifecycle_kept(rule: LifecycleRule) -> S3Result<kept::LifecycleRule> {
    let others = rule.abort_incomplete_multipart_upload.is_some()
        || rule.noncurrent_version_expiration.is_some()
        || rule
            .noncurrent_version_transitions
            .is_some_and(|some| !some.is_empty())
        || rule.transitions.is_some_and(|some| !some.is_empty());
    let days = rule.expiration.and_then(|expiration| expiration.days);
    let days = days.and_then(|days| u32::try_from(days).ok());
    match days {
        Some(days) if !others => Ok(kept::LifecycleRule {
            id: rule.id,
            prefix: prefix_of(rule.filter, rule.prefix)?,
            days,
            enabled: rule.status.as_str() == ExpirationStatus::ENABLED,
        }),
        _ => Err(not_served(
            "A lifecycle rule says `Expiration` in `Days` here, and nothing else. Uploads in parts that are left end \
             after seven days by themselves.",
        )),
    }
}

fn lifecycle_told(rule: kept::LifecycleRule) -> LifecycleRule {
    let status = match rule.enabled {
        true => ExpirationStatus::ENABLED,
        false => ExpirationStatus::DISABLED,
    };
    LifecycleRule {
        abort_incomplete_multipart_upload: None,
        expiration: Some(LifecycleExpiration {
            date: None,
            days: i32::try_from(rule.days).ok(),
            expired_object_delete_marker: None,
        }),
        filter: Some(LifecycleRuleFilter {
            prefix: Some(rule.prefix),
            ..Default::default()
        }),
        id: rule.id,
        noncurrent_version_expiration: None,
        noncurrent_version_transitions: None,
        prefix: None,
        status: ExpirationStatus::from_static(status),
        transitions: None,
    }
}

impl<S: ObjectStore> On<PutBucketLifecycleConfigurationInput, PutBucketLifecycleConfigurationOutput>
    for Face<S>
{
    async fn on_request(
        &self,
        request: S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        let rules = input.lifecycle_configuration.map(|set| set.rules);
        let rules = rules.unwrap_or_default().into_iter();
        let rules = rules.map(lifecycle_kept).collect::<S3Result<_>>()?;
        self.set(&caller, &input.bucket, RulesChange::Lifecycle(rules))
            .await?;
        let output = PutBucketLifecycleConfigurationOutput::default();
        Ok(S3Response::new(output))
    }
}

impl<S: ObjectStore> On<GetBucketLifecycleConfigurationInput, GetBucketLifecycleConfigurationOutput>
    for Face<S>
{
    async fn on_request(
        &self,
        request: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
        let caller = self.caller(&request)?;
        let rules = self.rules(&caller, &request.input.bucket).await?.lifecycle;
        if rules.is_empty() {
            return Err(nothing_set(S3ErrorCode::NoSuchLifecycleConfiguration));
        }
        Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
            rules: Some(rules.into_iter().map(lifecycle_told).collect()),
            ..Default::default()
        }))
    }
}

/// A page for errors and redirects are another service's.
fn index_of(site: WebsiteConfiguration) -> S3Result<String> {
    let others = site.error_document.is_some()
        || site.redirect_all_requests_to.is_some()
        || site.routing_rules.is_some_and(|rules| !rules.is_empty());
    match site.index_document {
        Some(index) if !others => Ok(index.suffix),
        _ => Err(not_served(
            "A website has an `IndexDocument` here, and nothing else.",
        )),
    }
}

impl<S: ObjectStore> On<PutBucketWebsiteInput, PutBucketWebsiteOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<PutBucketWebsiteInput>,
    ) -> S3Result<S3Response<PutBucketWebsiteOutput>> {
        let caller = self.caller(&request)?;
        let input = request.input;
        let index = index_of(input.website_configuration)?;
        self.set(
            &caller,
            &input.bucket,
            RulesChange::IndexDocument(Some(index)),
        )
        .await?;
        Ok(S3Response::new(PutBucketWebsiteOutput::default()))
    }
}

impl<S: ObjectStore> On<GetBucketWebsiteInput, GetBucketWebsiteOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<GetBucketWebsiteInput>,
    ) -> S3Result<S3Response<GetBucketWebsiteOutput>> {
        let caller = self.caller(&request)?;
        let rules = self.rules(&caller, &request.input.bucket).await?;
        let Some(suffix) = rules.index_document else {
            return Err(nothing_set(S3ErrorCode::NoSuchWebsiteConfiguration));
        };
        Ok(S3Response::new(GetBucketWebsiteOutput {
            index_document: Some(IndexDocument { suffix }),
            ..Default::default()
        }))
    }
}

/// What was set is set no longer.
macro_rules! unsets {
    ($($input:ident -> $output:ident: $change:expr),* $(,)?) => {$(
        impl<S: ObjectStore> On<$input, $output> for Face<S> {
            async fn on_request(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                let caller = self.caller(&request)?;
                self.set(&caller, &request.input.bucket, $change).await?;
                Ok(S3Response::new($output::default()))
            }
        }
    )*};
}

unsets! {
    DeleteBucketCorsInput -> DeleteBucketCorsOutput: RulesChange::Cors(Vec::new()),
    DeleteBucketLifecycleInput -> DeleteBucketLifecycleOutput: RulesChange::Lifecycle(Vec::new()),
    DeleteBucketWebsiteInput -> DeleteBucketWebsiteOutput: RulesChange::IndexDocument(None),
}

/// What a canned access list of a bucket says.
pub(super) fn published(acl: &str) -> S3Result<RulesChange> {
    let prefixes = match acl {
        BucketCannedACL::PRIVATE => Vec::new(),
        BucketCannedACL::PUBLIC_READ => vec![String::new()],
        _ => {
            return Err(not_served(
                "The access lists of a bucket are `private` and `public-read`: anybody may read its objects.",
            ));
        }
    };
    Ok(RulesChange::PublicRead(prefixes))
}

impl<S: ObjectStore> On<PutBucketAclInput, PutBucketAclOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<PutBucketAclInput>,
    ) -> S3Result<S3Response<PutBucketAclOutput>> {
        let caller = self.caller(&request)?;
        let input = &request.input;
        let acl = input.acl.as_ref().map_or("", BucketCannedACL::as_str);
        self.set(&caller, &input.bucket, published(acl)?).await?;
        Ok(S3Response::new(PutBucketAclOutput::default()))
    }
}

impl<S: ObjectStore> On<GetBucketAclInput, GetBucketAclOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<GetBucketAclInput>,
    ) -> S3Result<S3Response<GetBucketAclOutput>> {
        const EVERYBODY: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
        let caller = self.caller(&request)?;
        let rules = self.rules(&caller, &request.input.bucket).await?;
        let owner = self.owner(&caller);
        let mut grants = owner_alone(&owner);
        if rules.public_read.iter().any(String::is_empty) {
            grants.push(Grant {
                grantee: Some(Grantee {
                    display_name: None,
                    email_address: None,
                    id: None,
                    type_: Type::from_static(Type::GROUP),
                    uri: Some(EVERYBODY.to_owned()),
                }),
                permission: Some(Permission::from_static(Permission::READ)),
            });
        }
        Ok(S3Response::new(GetBucketAclOutput {
            grants: Some(grants),
            owner: Some(owner),
        }))
    }
}

impl<S: ObjectStore> On<GetBucketPolicyStatusInput, GetBucketPolicyStatusOutput> for Face<S> {
    async fn on_request(
        &self,
        request: S3Request<GetBucketPolicyStatusInput>,
    ) -> S3Result<S3Response<GetBucketPolicyStatusOutput>> {
        let caller = self.caller(&request)?;
        let rules = self.rules(&caller, &request.input.bucket).await?;
        Ok(S3Response::new(GetBucketPolicyStatusOutput {
            policy_status: Some(PolicyStatus {
                is_public: Some(!rules.public_read.is_empty()),
            }),
        }))
    }
}
