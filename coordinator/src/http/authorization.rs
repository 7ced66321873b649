//! Who asks, and whether he may: access tokens and access keys, and what each route needs of them.
//!
//! A handler names what it needs in the type of the caller that it takes, `User<Read>`: a key without that scope does not
//! get past it, and a route that names nothing cannot be written. Whoever has logged in may do all that his account may.
//!
//! Basic is taken and never asked for: a browser that was asked would send a key along with whatever page makes it.

use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::headers;
use api::problem::ProblemKind;
use axum::extract::{ConnectInfo, FromRef, FromRequestParts};
use credentials::access_key::Presented;
use credentials::scope::Scope;
use http::request::Parts;
use http::{HeaderMap, header};
use limits::fair_semaphore::Party;
use limits::memory::Holder;
use proto::{MicroCredits, NodeId};
use tracing::Span;

use super::client_address;
use super::extract::ClientAddr;
use super::problem::Problem;
use super::rate_limit::AuthLimits;
use crate::accounts::key_login::{self, ChargeRefused, KeyRefused};
use crate::accounts::principal::{NotAllowed, Principal, Rights};
use crate::accounts::{Accounts, access_tokens, second_factor, secrets, sessions};
use crate::config::HttpConfig;
use crate::fleet::{Nodes, lookup};
use crate::security::{self, EventKind};
use model::node::Node;
use model::user::Role;

/// What a route needs of its caller.
pub(super) trait Need: Send + Sync + 'static {
    fn check(principal: &Principal) -> Result<(), NotAllowed>;
}

macro_rules! scopes {
    ($($(#[$doc:meta])* $scope:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(super) struct $scope;

        impl Need for $scope {
            fn check(principal: &Principal) -> Result<(), NotAllowed> {
                principal.check(Scope::$scope)
            }
        }
    )*};
}

scopes! {
    /// The bytes of files, and what is known of one.
    Read,
    Write,
    List,
    Delete,
    /// Credits, nodes, payouts.
    Account,
}

/// Something in a bucket: what a key may do there is looked at where it is known which bucket, and where in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct InPlace;

impl Need for InPlace {
    fn check(_: &Principal) -> Result<(), NotAllowed> {
        Ok(())
    }
}

/// Somebody who has logged in: no key does it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Login;

impl Need for Login {
    fn check(principal: &Principal) -> Result<(), NotAllowed> {
        principal.check_login()
    }
}

/// Handing to others what the account has stored: a key that may not read it gets at it in no other way, either.
#[derive(Debug, Clone, Copy)]
pub(super) struct Publish;

impl Need for Publish {
    fn check(principal: &Principal) -> Result<(), NotAllowed> {
        principal.check(Scope::Read)?;
        principal.check(Scope::Write)
    }
}

/// The user that a token or a key speaks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct User<N>(pub Principal, pub PhantomData<N>);

impl<S, N: Need> FromRequestParts<S> for User<N>
where
    S: Send + Sync,
    Arc<Accounts>: FromRef<S>,
    Arc<HttpConfig>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let principal = principal(parts, state).await?;
        if let Some(party) = Party::current() {
            party.name(principal.user_id);
        }
        Span::current().record("account", tracing::field::display(principal.user_id));
        security::note_actor(|| match principal.rights {
            Rights::Login(session) => format!("session {session}"),
            Rights::Key(key) => format!("access key {}", key.id),
        });
        N::check(&principal)?;
        Ok(Self(principal, PhantomData))
    }
}

/// The user, and where he is: who takes a share of what all share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sharer<N> {
    pub caller: Principal,
    pub holder: Holder,
    pub needs: PhantomData<N>,
}

impl<S, N: Need> FromRequestParts<S> for Sharer<N>
where
    S: Send + Sync,
    Arc<Accounts>: FromRef<S>,
    Arc<HttpConfig>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let User(caller, needs) = User::<N>::from_request_parts(parts, state).await?;
        let ClientAddr(address) = ClientAddr::from_request_parts(parts, state).await?;
        let holder = Holder {
            account: caller.user_id,
            address,
        };
        Ok(Self {
            caller,
            holder,
            needs,
        })
    }
}

/// The user, who has to be an admin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admin;

impl<S: Send + Sync> FromRequestParts<S> for Admin
where
    Arc<Accounts>: FromRef<S>,
    Arc<HttpConfig>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let User(caller, ..) = User::<Account>::from_request_parts(parts, state).await?;
        if caller.role == Role::Admin {
            let accounts = Arc::<Accounts>::from_ref(state);
            second_factor::demand_of_admin(&accounts, caller.user_id).await?;
            return Ok(Self);
        }
        Err(Problem::new(
            ProblemKind::AdminsOnly,
            "This is for admins. `coordinator admin set-role <email> admin` makes one.",
        ))
    }
}

/// A user or a node, whoever asks.
#[derive(Debug)]
pub(super) enum Caller {
    User(Principal),
    Node(Box<Node>),
}

impl Caller {
    /// The node, if the caller is it or operates it.
    pub(super) async fn own_node(self, nodes: &Nodes, id: NodeId) -> Result<Node, Problem> {
        let node = match self {
            Self::Node(node) if node.id == id => return Ok(*node),
            Self::Node(_) => None,
            Self::User(user) => {
                let node = lookup::node(nodes, id).await?;
                let node = node.ok_or_else(|| Problem::not_found("node"))?;
                (node.operator == Some(user.user_id)).then_some(node)
            }
        };
        node.ok_or_else(|| {
            Problem::new(
                ProblemKind::Forbidden,
                "Only the node itself, with its X-API-Key, and its operator may see and do this.",
            )
        })
    }
}

/// A node, or a user of whom this is needed.
#[derive(Debug)]
pub(super) struct NodeOr<N>(pub Caller, pub PhantomData<N>);

impl<S, N: Need> FromRequestParts<S> for NodeOr<N>
where
    S: Send + Sync,
    Arc<Accounts>: FromRef<S>,
    Arc<HttpConfig>: FromRef<S>,
    Arc<Nodes>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Some(key) = parts.headers.get(headers::API_KEY) else {
            let User(caller, needs) = User::<N>::from_request_parts(parts, state).await?;
            return Ok(Self(Caller::User(caller), needs));
        };
        let hash = secrets::hash(key.to_str().unwrap_or_default());
        let nodes = Arc::<Nodes>::from_ref(state);
        let node = lookup::node_of_key(&nodes, &hash).await?;
        let node = node.ok_or_else(|| {
            Problem::unauthorized(
                "The node API key is not valid: `storage-node init` gets a new one.",
            )
        })?;
        security::note_actor(|| format!("node {}", node.id));
        Ok(Self(Caller::Node(Box::new(node)), PhantomData))
    }
}

async fn principal<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Principal, Problem>
where
    Arc<Accounts>: FromRef<S>,
    Arc<HttpConfig>: FromRef<S>,
{
    let accounts = Arc::<Accounts>::from_ref(state);
    let (scheme, shown) = shown(&parts.headers).ok_or_else(no_credentials)?;
    let key = if scheme.eq_ignore_ascii_case("bearer") {
        match Presented::bearer(shown) {
            Some(key) => key,
            None => {
                let claimed = access_tokens::verify(&accounts.keys, shown, accounts.clock.now())?;
                let ClientAddr(address) = ClientAddr::from_request_parts(parts, state).await?;
                return Ok(sessions::principal(&accounts, claimed, address).await?);
            }
        }
    } else if scheme.eq_ignore_ascii_case("basic") {
        check_basic(parts, &Arc::<HttpConfig>::from_ref(state))?;
        let key = Presented::basic(shown);
        key.map_err(|_| {
            Problem::unauthorized(
                "Basic takes an access key: its id as the name, its secret as the password.",
            )
        })?
    } else {
        return Err(no_credentials());
    };
    let ClientAddr(address) = ClientAddr::from_request_parts(parts, state).await?;
    match key_login::sign_in(&accounts, &key, address).await {
        Err(KeyRefused::Unknown) => {
            accounts.security.refused(EventKind::AccessKeyUsed, None);
            let limits = parts.extensions.get::<Arc<AuthLimits>>();
            limits.map_or(Ok(()), |limits| limits.check_wrong_key(address))?;
            Err(KeyRefused::Unknown.into())
        }
        signed_in => Ok(signed_in?),
    }
}

fn no_credentials() -> Problem {
    Problem::unauthorized(
        "This needs an access token or an access key: send `Authorization: Bearer <token>` with a token from POST \
         /api/v1/auth/login, or an access key's id and secret as `Authorization: Basic`.",
    )
}

/// Scheme and credentials.
fn shown(headers: &HeaderMap) -> Option<(&str, &str)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    Some((scheme, credentials.trim()))
}

const FETCH_SITE: &str = "sec-fetch-site";

/// Programs send keys, over TLS. A browser that has a key in its memory adds it to whatever a page asks for, and what goes
/// over the wire in the clear is everybody's.
fn check_basic(parts: &Parts, config: &HttpConfig) -> Result<(), Problem> {
    let from_page = |headers: &HeaderMap| {
        let site = headers.get(FETCH_SITE).map(http::HeaderValue::as_bytes);
        headers.contains_key(header::ORIGIN)
            || site.is_some_and(|site| !matches!(site, b"same-origin" | b"none"))
    };
    if from_page(&parts.headers) {
        return Err(Problem::new(
            ProblemKind::BasicRefused,
            "Basic is not taken from web pages: the request has `Origin`, or a `Sec-Fetch-Site` of another site.",
        ));
    }
    let connected = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let connected = connected.map(|ConnectInfo(address)| address.ip());
    let in_the_clear =
        |connected: IpAddr| client_address::is_cleartext(config, connected, &parts.headers);
    if connected.is_none_or(in_the_clear) {
        return Err(Problem::new(
            ProblemKind::BasicRefused,
            "Basic is not taken over cleartext HTTP from another machine: use https. Operators: the proxy has to be in \
             http.trusted_proxies, and to set X-Forwarded-Proto. And make another key, for this one was sent in the clear.",
        ));
    }
    Ok(())
}

/// Counts what a key with a cap is going to use, before it does.
pub(super) async fn charge(
    accounts: &Accounts,
    caller: &Principal,
    bytes: u64,
    cost: MicroCredits,
) -> Result<(), Problem> {
    let refused = match key_login::charge(accounts, caller, bytes, cost).await {
        Ok(()) => return Ok(()),
        Err(ChargeRefused::Database(error)) => return Err(error.into()),
        Err(refused) => refused,
    };
    let seconds = key_login::until_tomorrow(accounts.clock.now());
    let detail = format!("This is too much for today (UTC): {refused}.");
    Err(Problem::new(ProblemKind::KeyUsedUp, detail).retry_after(seconds))
}
