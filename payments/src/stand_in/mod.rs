//! Somebody who speaks Stripe's documented HTTP, on a port of this machine that the system chooses: for tests, which pay as
//! a customer, argue as a bank, and have questions go wrong on demand.
//!
//! It does what the documentation says, in what is asked here: forms in, JSON out, `Idempotency-Key` with the first answer
//! again (of a day ago, too: nothing is forgotten unless it is told to forget), errors in Stripe's form, signed events.
//! Whatever is missing or not as documented in a question is refused, so that a test fails that asks wrongly.

mod answers;
mod books;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use self::books::Books;
use crate::{Stripe, StripeSettings, sign_webhook};

pub const SECRET_KEY: &str = "sk_test_stand_in_planted";
pub const WEBHOOK_SECRET: &str = "whsec_stand_in_planted";

/// What is to happen to a question that makes or changes something.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing is done, and the answer is 503 of somebody in between.
    Away,
    /// It is done, and the answer gets lost.
    LostAnswer,
    /// It is done, and the answer waits until [`StandIn::let_go`].
    Held,
    /// It is refused like this.
    Refused {
        status: u16,
        kind: &'static str,
        code: &'static str,
        message: &'static str,
    },
}

struct Shared {
    books: Mutex<Books>,
    faults: Mutex<VecDeque<Fault>>,
    /// Every question is answered with 503.
    away: Mutex<bool>,
    held: Semaphore,
    holding: Notify,
}

/// The server, until it is dropped.
pub struct StandIn {
    url: String,
    shared: Arc<Shared>,
    serving: JoinHandle<io::Result<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StandIn {
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            books: Mutex::default(),
            faults: Mutex::default(),
            away: Mutex::new(false),
            held: Semaphore::new(0),
            holding: Notify::new(),
        });
        let router = Router::new()
            .fallback(serve)
            .with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            url,
            shared,
            serving,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// A provider that asks here.
    pub fn provider(&self) -> Result<Stripe, crate::ProviderError> {
        Stripe::new(StripeSettings {
            api_url: self.url.clone(),
            secret_key: Zeroizing::new(SECRET_KEY.to_owned()),
            webhook_secret: Zeroizing::new(WEBHOOK_SECRET.to_owned()),
            return_url: Some("https://storage.example.com/account".to_owned()),
        })
    }

    /// The next question that makes something meets this one, the one after it the next.
    pub fn meets(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.shared.faults).extend(faults);
    }

    /// Nobody is there, or somebody is again.
    pub fn set_away(&self, away: bool) {
        *lock(&self.shared.away) = away;
    }

    /// Returns once an answer is held back.
    pub async fn holds(&self) {
        self.shared.holding.notified().await;
    }

    /// An answer that is held back goes out, now or when it comes to it.
    pub fn let_go(&self) {
        self.shared.held.add_permits(1);
    }

    /// Keys of questions are remembered for a day; this one is over.
    pub fn forget_keys(&self) {
        lock(&self.shared.books).forget_keys();
    }

    /// The names of all payments, in the order in which they were made.
    pub fn payments(&self) -> Vec<String> {
        lock(&self.shared.books).names("payment_intent")
    }

    /// The names of all transfers, in the order in which they were made.
    pub fn transfers(&self) -> Vec<String> {
        lock(&self.shared.books).names("transfer")
    }

    /// An object as it stands.
    pub fn object(&self, name: &str) -> Option<Value> {
        lock(&self.shared.books).object(name).cloned()
    }

    /// The customer pays.
    pub fn pay(&self, payment: &str) {
        lock(&self.shared.books).pay(payment);
    }

    /// The customer's bank calls the payment back, or only asks about it.
    pub fn dispute(&self, payment: &str, cents: u64, status: &str) -> String {
        lock(&self.shared.books).dispute(payment, cents, status)
    }

    /// The operator pays a payment back, or a part of it, on Stripe's own pages.
    pub fn refund(&self, payment: &str, cents: u64, status: &str) -> String {
        lock(&self.shared.books).refund(payment, cents, status)
    }

    /// A member of an object becomes another, like the status of a dispute.
    pub fn change(&self, name: &str, changed: &Value) {
        lock(&self.shared.books).change(name, changed);
    }

    /// The owner of an account has told about himself.
    pub fn onboard(&self, account: &str) {
        self.change(account, &json!({"capabilities": {"transfers": "active"}}));
    }

    /// The body of an event about an object, as it stands, and its signature of this moment.
    pub fn event(&self, kind: &str, name: &str, at: Timestamp) -> (String, String) {
        let object = self.object(name).unwrap_or_else(|| json!({"id": name}));
        let event = json!({"id": "evt_1", "object": "event", "api_version": "2024-06-20",
            "created": at.as_second(), "type": kind, "data": {"object": object}});
        let body = event.to_string();
        let signature = sign_webhook(WEBHOOK_SECRET, at, body.as_bytes());
        (body, signature)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A question, read.
struct Asked {
    method: Method,
    path: String,
    headers: HeaderMap,
    form: Vec<(String, String)>,
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    const MOST: usize = 64 * 1024;
    let (parts, body) = request.into_parts();
    if *lock(&shared.away) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let Ok(body) = axum::body::to_bytes(body, MOST).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let text = match parts.method {
        Method::GET => parts.uri.query().unwrap_or_default().as_bytes(),
        _ => &body[..],
    };
    let asked = Asked {
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        form: answers::form(text),
    };
    let makes = asked.method == Method::POST;
    let fault = if makes {
        lock(&shared.faults).pop_front()
    } else {
        None
    };
    match fault {
        Some(Fault::Away) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(Fault::Refused {
            status,
            kind,
            code,
            message,
        }) => {
            let error = answers::error(kind, Some(code), message);
            (answers::status(status), axum::Json(error)).into_response()
        }
        Some(Fault::LostAnswer) => {
            drop(answers::answer(&shared.books, &asked));
            let broken =
                stream::iter([Err::<Vec<u8>, io::Error>(io::ErrorKind::BrokenPipe.into())]);
            Response::new(Body::from_stream(broken))
        }
        Some(Fault::Held) => {
            let answer = answers::answer(&shared.books, &asked);
            shared.holding.notify_one();
            if let Ok(permit) = shared.held.acquire().await {
                permit.forget();
            }
            answer.into_response()
        }
        None => answers::answer(&shared.books, &asked).into_response(),
    }
}
