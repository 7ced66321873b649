//! Access tokens: the coordinator believes its own and no others.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use coordinator::accounts::access_tokens;
use coordinator::accounts::access_tokens::Claimed;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use kit::Clock;
use model::ids::{SessionId, UserId};
use model::user::Role;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::Coordinator;

/// A coordinator, and what goes into a token that it accepts.
struct Issuer {
    coordinator: Coordinator,
    user_id: UserId,
}

impl Issuer {
    async fn new(pool: PgPool) -> Self {
        let coordinator = Coordinator::start(pool).await;
        let (user_id, _) = coordinator.user().await;
        Self {
            coordinator,
            user_id,
        }
    }

    fn claims(&self) -> Value {
        json!({
            "sub": self.user_id,
            "sid": self.user_id,
            "aud": "fsn-api",
            "iss": self.coordinator.app.keys.ring.network_id,
            "iat": Clock::system().now().as_second(),
            "exp": Clock::system().now().as_second() + 900,
        })
    }

    fn header(&self, algorithm: Algorithm) -> Header {
        let mut header = Header::new(algorithm);
        header.kid = Some(self.coordinator.app.keys.ring.token().0);
        header
    }

    /// Signed with the coordinator's key.
    fn sign(&self, header: &Header, claims: &Value) -> String {
        let (_, key) = self.coordinator.app.keys.ring.token();
        encode(header, claims, &EncodingKey::from_secret(&key[..])).unwrap()
    }

    fn with(&self, claim: &str, value: Value) -> String {
        let mut claims = self.claims();
        claims[claim] = value;
        self.sign(&self.header(Algorithm::HS256), &claims)
    }

    fn issued_at(&self, at: Timestamp) -> String {
        let claimed = Claimed {
            user_id: self.user_id,
            session_id: SessionId::from_uuid(self.user_id.as_uuid()),
        };
        let expires_at = at + SignedDuration::from_mins(15);
        let ring = &self.coordinator.app.keys.ring;
        access_tokens::issue(ring, claimed, Role::User, at, expires_at).unwrap()
    }

    async fn is_accepted(&self, token: &str) -> bool {
        let client = self.coordinator.visitor().with_token(token);
        let answer = client.get("/api/v1/auth/me").await;
        if answer.status == StatusCode::OK {
            return true;
        }
        answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        false
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_token_lives_for_its_time_and_a_minute_of_skew(pool: PgPool) {
    let issuer = Issuer::new(pool).await;
    let (now, minutes) = (Clock::system().now(), SignedDuration::from_mins);
    for (age, accepted) in [
        (0, true),
        (14, true),
        (15, true),
        (17, false),
        (9999, false),
    ] {
        let token = issuer.issued_at(now - minutes(age));
        assert_eq!(issuer.is_accepted(&token).await, accepted, "{age} min");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_claims_of_a_token_are_all_checked(pool: PgPool) {
    let issuer = Issuer::new(pool).await;
    assert!(
        issuer
            .is_accepted(&issuer.with("sid", json!(issuer.user_id)))
            .await
    );
    let wrong = [
        ("aud", json!("another-api")),
        ("aud", Value::Null),
        ("iss", json!("00".repeat(32))),
        ("iss", Value::Null),
        ("sub", json!("not a uuid")),
        ("sub", Value::Null),
        ("exp", json!(1)),
        ("exp", json!("tomorrow")),
        ("exp", Value::Null),
        ("sid", json!(Uuid::from_u128(1))),
        ("sid", json!("not a uuid")),
        ("sid", Value::Null),
    ];
    for (claim, value) in wrong {
        let token = issuer.with(claim, value.clone());
        assert!(!issuer.is_accepted(&token).await, "{claim} = {value}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_signature_by_anything_but_the_named_key_is_refused(pool: PgPool) {
    let issuer = Issuer::new(pool).await;
    let (claims, hs256) = (issuer.claims(), issuer.header(Algorithm::HS256));

    let stranger = encode(&hs256, &claims, &EncodingKey::from_secret(&[7; 32])).unwrap();
    assert!(!issuer.is_accepted(&stranger).await);
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let token = issuer.sign(&issuer.header(algorithm), &claims);
        assert!(!issuer.is_accepted(&token).await, "{algorithm:?}");
    }
    for kid in [
        None,
        Some("token-2"),
        Some("master-1"),
        Some("../token-1"),
        Some(""),
    ] {
        let mut header = hs256.clone();
        header.kid = kid.map(str::to_owned);
        let token = issuer.sign(&header, &claims);
        assert!(!issuer.is_accepted(&token).await, "{kid:?}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_token_without_a_signature_is_refused_whatever_it_says_of_it(pool: PgPool) {
    let issuer = Issuer::new(pool).await;
    let (kid, _) = issuer.coordinator.app.keys.ring.token();
    let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = part(&issuer.claims());
    for algorithm in ["none", "None", "NONE", "HS256", ""] {
        let header = part(&json!({"alg": algorithm, "typ": "JWT", "kid": kid}));
        for token in [format!("{header}.{claims}."), format!("{header}.{claims}")] {
            assert!(!issuer.is_accepted(&token).await, "{algorithm}");
        }
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_token_that_was_tampered_with_is_refused(pool: PgPool) {
    let issuer = Issuer::new(pool).await;
    let token = issuer.issued_at(Clock::system().now());
    assert!(issuer.is_accepted(&token).await);
    for at in (0..token.len()).step_by(7) {
        let mut tampered = token.clone().into_bytes();
        tampered[at] = if tampered[at] == b'A' { b'B' } else { b'A' };
        let tampered = String::from_utf8(tampered).unwrap();
        assert!(!issuer.is_accepted(&tampered).await, "at {at}");
    }
    for garbage in ["", ".", "..", "a.b.c", "Bearer", &"x".repeat(5000)] {
        assert!(!issuer.is_accepted(garbage).await, "{garbage:?}");
    }
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_request_without_a_bearer_token_is_told_how_to_get_one(pool: PgPool) {
    let issuer = Issuer::new(pool).await;
    let (visitor, token) = (
        issuer.coordinator.visitor(),
        issuer.issued_at(Clock::system().now()),
    );
    for authorization in [None, Some("Digest dTpw".to_owned()), Some(token.clone())] {
        let mut call = visitor.call(http::Method::GET, "/api/v1/files");
        if let Some(value) = &authorization {
            call = call.header("authorization", value);
        }
        let problem = call.send().await.problem(401, "unauthorized");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("/api/v1/auth/login"), "{detail}");
    }
    let any_case = visitor.call(http::Method::GET, "/api/v1/files");
    let any_case = any_case.header("authorization", &format!("bearer {token}"));
    assert_eq!(any_case.send().await.status, StatusCode::OK);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_token_of_an_account_that_is_gone_speaks_for_nobody(pool: PgPool) {
    let issuer = Issuer::new(pool.clone()).await;
    sqlx::query("DELETE FROM users")
        .execute(&pool)
        .await
        .unwrap();
    assert!(
        !issuer
            .is_accepted(&issuer.issued_at(Clock::system().now()))
            .await
    );
}
