//! What the stand-in answers to which question.

use std::sync::Mutex;

use axum::Json;
use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::books::Books;
use super::{Asked, SECRET_KEY, lock};

pub(super) fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) fn error(kind: &str, code: Option<&str>, message: &str) -> Value {
    json!({"error": {"type": kind, "code": code, "message": message}})
}

fn invalid(message: &str) -> (u16, Value) {
    (400, error("invalid_request_error", None, message))
}

fn missing(name: &str) -> (u16, Value) {
    let message = format!("No such object: '{name}'");
    (
        404,
        error("invalid_request_error", Some("resource_missing"), &message),
    )
}

/// `a%5Bb%5D=c+d` → `a[b]`, `c d`
pub(super) fn form(text: &[u8]) -> Vec<(String, String)> {
    let pairs = text
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let mut part = || decoded(parts.next().unwrap_or_default());
        (part(), part())
    });
    pairs.collect()
}

fn decoded(text: &[u8]) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match (first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
                digit(*high) << 4 | digit(*low)
            }
            (byte, _) => *byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Asked {
    fn value(&self, name: &str) -> Option<&str> {
        let found = self.form.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    fn cents(&self) -> Option<u64> {
        self.value("amount")?
            .parse()
            .ok()
            .filter(|cents| *cents > 0)
    }

    fn in_dollars(&self) -> bool {
        self.value("currency") == Some("usd")
    }

    fn metadata(&self) -> Value {
        let of = |name: &str| {
            let inner = name.strip_prefix("metadata[")?.strip_suffix(']')?;
            Some(inner.to_owned())
        };
        let all = self.form.iter();
        let all = all.filter_map(|(name, value)| Some((of(name)?, json!(value))));
        Value::Object(all.collect::<Map<_, _>>())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

pub(super) fn answer(books: &Mutex<Books>, asked: &Asked) -> (StatusCode, Json<Value>) {
    let bearer = format!("Bearer {SECRET_KEY}");
    if asked.header(AUTHORIZATION.as_str()) != Some(bearer.as_str()) {
        let said = error("invalid_request_error", None, "Invalid API Key provided");
        return (StatusCode::UNAUTHORIZED, Json(said));
    }
    if asked.header("stripe-version").is_none() {
        let (code, said) = invalid("this stand-in wants the version to be named");
        return (status(code), Json(said));
    }
    let mut books = lock(books);
    let key = asked.header("idempotency-key").map(str::to_owned);
    let question = format!("{} {} {:?}", asked.method, asked.path, asked.form);
    if let Some((code, said, before)) = key.as_deref().and_then(|key| books.answered(key)) {
        if *before == question {
            return (status(*code), Json(said.clone()));
        }
        let said = error(
            "idempotency_error",
            None,
            "Keys for idempotent requests can only be used with the same parameters they were first used with.",
        );
        return (StatusCode::BAD_REQUEST, Json(said));
    }
    let (code, said) = work(&mut books, asked);
    if let Some(key) = key.filter(|_| asked.method == Method::POST) {
        books.remember(&key, code, said.clone(), question);
    }
    (status(code), Json(said))
}

fn work(books: &mut Books, asked: &Asked) -> (u16, Value) {
    let path = asked.path.strip_prefix("/v1/").unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    match (asked.method.as_str(), &parts[..]) {
        ("POST", ["payment_intents"]) => create_payment(books, asked),
        ("POST", ["payment_intents", name, "cancel"]) => cancel_payment(books, name),
        ("POST", ["transfers"]) => create_transfer(books, asked),
        ("POST", ["accounts"]) => create_account(books, asked),
        ("POST", ["account_links"]) => create_link(books, asked),
        ("GET", ["transfers"]) => {
            let group = asked.value("transfer_group");
            let found = books.all("transfer");
            let found = found.filter(|transfer| transfer["transfer_group"].as_str() == group);
            list(found.cloned().collect())
        }
        ("GET", ["disputes"]) => list(books.all("dispute").cloned().collect()),
        ("GET", ["refunds"]) => list(books.all("refund").cloned().collect()),
        (
            "GET",
            [
                "payment_intents" | "transfers" | "disputes" | "refunds" | "accounts",
                name,
            ],
        ) => match books.object(name) {
            Some(object) => (200, object.clone()),
            None => missing(name),
        },
        _ => (
            404,
            error("invalid_request_error", None, "Unrecognized request URL"),
        ),
    }
}

fn list(data: Vec<Value>) -> (u16, Value) {
    (
        200,
        json!({"object": "list", "data": data, "has_more": false}),
    )
}

fn create_payment(books: &mut Books, asked: &Asked) -> (u16, Value) {
    let Some(amount) = asked.cents().filter(|_| asked.in_dollars()) else {
        return invalid("Missing or invalid param: amount, currency");
    };
    let payment = json!({"object": "payment_intent", "amount": amount, "amount_received": 0, "currency": "usd",
        "status": "requires_payment_method", "metadata": asked.metadata(), "last_payment_error": null,
        "cancellation_reason": null});
    (200, books.add("pi", payment))
}

fn cancel_payment(books: &mut Books, name: &str) -> (u16, Value) {
    let Some(payment) = books.object(name) else {
        return missing(name);
    };
    if matches!(payment["status"].as_str(), Some("succeeded" | "canceled")) {
        let code = Some("payment_intent_unexpected_state");
        let said = "You cannot cancel this PaymentIntent because of its status.";
        return (400, error("invalid_request_error", code, said));
    }
    let changed = json!({"status": "canceled", "cancellation_reason": "abandoned"});
    books.change(name, &changed);
    (200, books.object(name).cloned().unwrap_or_default())
}

fn create_transfer(books: &mut Books, asked: &Asked) -> (u16, Value) {
    let Some(amount) = asked.cents().filter(|_| asked.in_dollars()) else {
        return invalid("Missing or invalid param: amount, currency");
    };
    let destination = asked.value("destination").unwrap_or_default();
    let account = books.object(destination);
    if !account.is_some_and(|account| account["capabilities"]["transfers"] == "active") {
        let said = format!("No such destination: '{destination}', or it cannot take transfers");
        let code = Some("insufficient_capabilities_for_transfer");
        return (400, error("invalid_request_error", code, &said));
    }
    let transfer = json!({"object": "transfer", "amount": amount, "amount_reversed": 0, "currency": "usd",
        "destination": destination, "transfer_group": asked.value("transfer_group"), "reversed": false,
        "metadata": asked.metadata()});
    (200, books.add("tr", transfer))
}

fn create_account(books: &mut Books, asked: &Asked) -> (u16, Value) {
    if asked.value("type") != Some("express")
        || asked.value("capabilities[transfers][requested]") != Some("true")
    {
        return invalid("Missing required param: type, capabilities");
    }
    let account = json!({"object": "account", "type": "express", "country": asked.value("country").unwrap_or("US"),
        "capabilities": {"transfers": "inactive"}, "metadata": asked.metadata()});
    (200, books.add("acct", account))
}

fn create_link(books: &Books, asked: &Asked) -> (u16, Value) {
    let account = asked.value("account").unwrap_or_default();
    let wanted = ["refresh_url", "return_url"];
    if wanted.iter().any(|name| asked.value(name).is_none())
        || asked.value("type") != Some("account_onboarding")
    {
        return invalid("Missing required param: refresh_url, return_url, type");
    }
    match books.object(account) {
        Some(_) => (
            200,
            json!({"object": "account_link", "url": format!("https://connect.stripe.com/setup/e/{account}"),
                "expires_at": 0}),
        ),
        None => missing(account),
    }
}
