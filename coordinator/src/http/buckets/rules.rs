//! What is set for a bucket, in and out.

use api::buckets::{BucketChange, BucketRules, CorsRule, LifecycleRule};
use gateway::said::Senseless;
use model::bucket_rules::{self as kept, RulesChange};

use crate::http::problem::Problem;
use crate::objects::bucket_rules::RulesError;

impl From<RulesError> for Problem {
    fn from(error: RulesError) -> Self {
        match error {
            RulesError::Invalid(error) => Self::invalid(format!("This cannot be set: {error}.")),
            RulesError::Object(error) => error.into(),
        }
    }
}

impl From<Senseless> for Problem {
    fn from(error: Senseless) -> Self {
        Self::invalid(error.to_string())
    }
}

/// What a request sets.
pub(super) fn changes(body: BucketChange) -> Vec<RulesChange> {
    let cors = |rule: CorsRule| kept::CorsRule {
        id: rule.id,
        origins: rule.origins,
        methods: rule.methods,
        headers: rule.headers,
        exposed: rule.exposed,
        max_age_seconds: rule.max_age_seconds,
    };
    let lifecycle = |rule: LifecycleRule| kept::LifecycleRule {
        id: rule.id,
        prefix: rule.prefix,
        days: rule.days,
        enabled: rule.enabled,
    };
    let name = |name: String| (!name.is_empty()).then_some(name);
    let changes = [
        body.cors
            .map(|rules| RulesChange::Cors(rules.into_iter().map(cors).collect())),
        body.lifecycle
            .map(|rules| RulesChange::Lifecycle(rules.into_iter().map(lifecycle).collect())),
        body.public_read.map(RulesChange::PublicRead),
        body.index_document
            .map(|index| RulesChange::IndexDocument(name(index))),
    ];
    changes.into_iter().flatten().collect()
}

pub(super) fn view(rules: kept::BucketRules) -> BucketRules {
    let cors = |rule: kept::CorsRule| CorsRule {
        id: rule.id,
        origins: rule.origins,
        methods: rule.methods,
        headers: rule.headers,
        exposed: rule.exposed,
        max_age_seconds: rule.max_age_seconds,
    };
    let lifecycle = |rule: kept::LifecycleRule| LifecycleRule {
        id: rule.id,
        prefix: rule.prefix,
        days: rule.days,
        enabled: rule.enabled,
    };
    BucketRules {
        cors: rules.cors.into_iter().map(cors).collect(),
        lifecycle: rules.lifecycle.into_iter().map(lifecycle).collect(),
        public_read: rules.public_read,
        index_document: rules.index_document,
    }
}
