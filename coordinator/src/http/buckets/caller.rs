//! Who asks for something in a bucket, and what he may do there: an access key what its scopes say, in its bucket and
//! below its prefix; whoever has logged in all that his account may.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use credentials::scope::Scope;
use gateway::store::{Action, Caller, Rights, StoreError};
use http::request::Parts;
use limits::memory::Holder;
use model::objects::Bucket;

use crate::accounts::principal::{self, NotAllowed, Principal};
use crate::accounts::{Accounts, key_login};
use crate::config::HttpConfig;
use crate::http::authorization::{InPlace, Sharer};
use crate::http::problem::Problem;
use crate::http::s3::rights_of;
use crate::objects::Objects;
use api::problem::ProblemKind;

/// The caller. What he may is asked of it once the place is known.
#[derive(Debug, Clone)]
pub(in crate::http) struct BucketCaller(pub Caller<Principal>);

impl<S> FromRequestParts<S> for BucketCaller
where
    S: Send + Sync,
    Arc<Accounts>: FromRef<S>,
    Arc<HttpConfig>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Sharer { caller, holder, .. } =
            Sharer::<InPlace>::from_request_parts(parts, state).await?;
        let place = key_login::place_of(&Arc::<Accounts>::from_ref(state), &caller).await?;
        let rights = match caller.rights {
            principal::Rights::Login(_) => Rights {
                read: true,
                write: true,
                list: true,
                delete: true,
            },
            principal::Rights::Key(key) => rights_of(key.scopes),
        };
        Ok(Self(Caller {
            account: caller,
            address: holder.address,
            rights,
            bucket: place.bucket,
            prefix: place.prefix,
        }))
    }
}

/// Whoever brings a file in steps. Whether he may write at all is known before his request is read.
#[derive(Debug, Clone)]
pub(in crate::http) struct Uploader(pub BucketCaller);

impl<S> FromRequestParts<S> for Uploader
where
    S: Send + Sync,
    Arc<Accounts>: FromRef<S>,
    Arc<HttpConfig>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = BucketCaller::from_request_parts(parts, state).await?;
        match caller.principal().check(Scope::Write) {
            Ok(()) | Err(NotAllowed::OutsideOfBucket { .. }) => Ok(Self(caller)),
            Err(error) => Err(error.into()),
        }
    }
}

pub(super) fn not_allowed(error: StoreError) -> Problem {
    Problem::new(ProblemKind::NotForThisKey, error.to_string())
}

impl BucketCaller {
    pub(in crate::http) fn holder(&self) -> Holder {
        Holder {
            account: self.0.account.user_id,
            address: self.0.address,
        }
    }

    pub(in crate::http) fn principal(&self) -> &Principal {
        &self.0.account
    }

    /// Whether the right is there at all, and for everything.
    pub(in crate::http) fn check_everywhere(
        &self,
        right: impl Fn(Rights) -> bool,
    ) -> Result<(), Problem> {
        self.0.may_everywhere().map_err(not_allowed)?;
        match right(self.0.rights) {
            true => Ok(()),
            false => Err(Problem::new(
                ProblemKind::NotForThisKey,
                "The access key was made without the scope that this needs: use another one.",
            )),
        }
    }

    pub(in crate::http) fn check_at(
        &self,
        action: Action,
        bucket: &str,
        beginning: &str,
    ) -> Result<(), Problem> {
        let may = self.0.may_at(action, bucket, beginning);
        may.map_err(not_allowed)
    }

    /// The caller's bucket, where he may do this with what begins so.
    pub(in crate::http) async fn bucket_at(
        &self,
        objects: &Objects,
        action: Action,
        name: &str,
        beginning: &str,
    ) -> Result<Bucket, Problem> {
        self.check_at(action, name, beginning)?;
        Ok(objects.bucket(self.0.account.user_id, name).await?)
    }
}
