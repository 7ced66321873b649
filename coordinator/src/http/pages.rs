//! What the crate `site` needs to serve the pages of this coordinator.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use jiff::{SignedDuration, Timestamp};
use site::{Kept, S3Place, Site};

use super::client_address;
use crate::accounts::{Accounts, access_tokens};
use crate::compose::Coordinator;
use crate::config::S3Config;
use model::user::Role;

pub(super) fn site(coordinator: &Coordinator, api: Router) -> Site {
    let config = &coordinator.config;
    let (accounts, clock) = (Arc::clone(&coordinator.accounts), coordinator.clock.clone());
    let http = Arc::new(config.http.clone());
    Site {
        api,
        keep: Arc::new(move |token| keep(&accounts, token)),
        over_tls: Arc::new(move |connected: IpAddr, headers| {
            client_address::came_over_tls(&http, connected, headers)
        }),
        now: Arc::new(move || clock.now()),
        public_url: config.http.public_url.clone(),
        s3: s3(&config.s3),
    }
}

/// The same token, for as long as the login's first refresh token is kept: that one goes to no browser, so it is not
/// renewed, and the session ends with it. Whether the session is still there is looked up with each request, as of any token.
fn keep(accounts: &Accounts, token: &str) -> Option<Kept> {
    let now = accounts.clock.now();
    let claimed = access_tokens::verify(&accounts.keys, token, now).ok()?;
    let config = &accounts.config;
    let lasts: Duration = config.refresh_token_ttl.min(config.session_ttl);
    let ends = SignedDuration::try_from(lasts).ok();
    let ends = ends.and_then(|lasts| now.checked_add(lasts).ok());
    let ends = ends.unwrap_or(Timestamp::MAX);
    let token = access_tokens::issue(&accounts.keys, claimed, Role::User, now, ends).ok()?;
    Some(Kept { token, lasts })
}

fn s3(config: &S3Config) -> Option<S3Place> {
    let listen = config.listen?;
    let endpoint = match &config.domain {
        Some(domain) => Some(format!("https://{domain}")),
        None => listen
            .ip()
            .is_loopback()
            .then(|| format!("http://{listen}")),
    };
    Some(S3Place {
        endpoint,
        region: config.region.clone(),
    })
}
