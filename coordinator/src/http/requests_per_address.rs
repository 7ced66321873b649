//! Requests under way, bounded for each client: over HTTP/2 one connection carries many, and one of a proxy carries
//! those of everybody behind it. What a request asks of what all share, it asks on behalf of its client.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use api::problem::ProblemKind;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use limits::fair_semaphore::Party;
use rules::client_address::network_of;

use super::client_address;
use super::holding_body::HoldingBody;
use super::problem::Problem;
use crate::config::HttpConfig;

#[derive(Debug, Clone)]
pub(super) struct RequestLimit {
    config: Arc<HttpConfig>,
    under_way: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl RequestLimit {
    pub(super) fn new(config: Arc<HttpConfig>) -> Self {
        Self {
            config,
            under_way: Arc::default(),
        }
    }

    fn begin(&self, address: IpAddr) -> Option<UnderWay> {
        let address = network_of(address);
        let mut all = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(address).or_default();
        if *count >= self.config.max_connections_per_address {
            return None;
        }
        *count += 1;
        Some(UnderWay {
            address,
            all: Arc::clone(&self.under_way),
        })
    }
}

/// One of them, until its answer has been sent.
struct UnderWay {
    address: IpAddr,
    all: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}

pub(super) async fn limit(
    State(limit): State<RequestLimit>,
    request: Request,
    next: Next,
) -> Response {
    let connected = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let Some(ConnectInfo(connected)) = connected else {
        return next.run(request).await;
    };
    let client = client_address::client_of(&limit.config, connected.ip(), request.headers());
    let Some(under_way) = limit.begin(client) else {
        let most = limit.config.max_connections_per_address;
        let detail = format!(
            "{most} requests from this address are under way, as many as it may have at one time. Wait until some \
             have ended."
        );
        let refused = Problem::new(ProblemKind::TooManyRequests, detail).retry_after(1);
        return refused.into_response();
    };
    let answer = Party::at(client).scope(next.run(request)).await;
    answer.map(|body| Body::new(HoldingBody::new(body, under_way)))
}
