//! Access tokens: short-lived JWTs that name a session. Whether that is still there, and what its owner may do by now,
//! is looked up (`sessions.rs`): a token says nothing of it.
//!
//! HS256 alone, with the key that `kid` names; audience, expiry and issuer are checked, so `none`, a
//! foreign algorithm, a retired network or a token for something else all fail alike.

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use proto::NetworkId;
use serde::{Deserialize, Serialize};

use crate::keys::KeyRing;
use model::ids::{SessionId, UserId};
use model::user::Role;

const AUDIENCE: &str = "fsn-api";

/// Clocks of coordinators may differ by this much.
const LEEWAY_SECONDS: u64 = 60;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: UserId,
    /// Tokens of the release before have none, and are refused.
    sid: SessionId,
    aud: String,
    iss: NetworkId,
    iat: i64,
    exp: i64,
    /// For coordinators of the release before, which read it here.
    #[serde(default, skip_deserializing)]
    role: &'static str,
}

/// Who a token says that a request speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed {
    pub user_id: UserId,
    pub session_id: SessionId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the access token has expired: get a new one with POST /api/v1/auth/refresh")]
    Expired,
    #[error("the access token is not valid: log in with POST /api/v1/auth/login")]
    Invalid,
}

#[derive(Debug, thiserror::Error)]
#[error("the token cannot be signed: {0}")]
pub struct SigningError(#[from] jsonwebtoken::errors::Error);

pub fn issue(
    keys: &KeyRing,
    claimed: Claimed,
    role: Role,
    now: Timestamp,
    expires: Timestamp,
) -> Result<String, SigningError> {
    let (key_id, key) = keys.token();
    let claims = Claims {
        sub: claimed.user_id,
        sid: claimed.session_id,
        role: role.name(),
        aud: AUDIENCE.to_owned(),
        iss: keys.network_id,
        iat: now.as_second(),
        exp: expires.as_second(),
    };
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(key_id);
    Ok(jsonwebtoken::encode(
        &header,
        &claims,
        &EncodingKey::from_secret(&key[..]),
    )?)
}

/// Checks a token against the time `now`.
pub fn verify(keys: &KeyRing, token: &str, now: Timestamp) -> Result<Claimed, TokenError> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
    let key = header
        .kid
        .as_deref()
        .and_then(|id| keys.token_by_id(id))
        .ok_or(TokenError::Invalid)?;
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[keys.network_id.to_string()]);
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    validation.validate_exp = false; // below, against the time that was handed in
    let claims =
        jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(&key[..]), &validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
    if claims.exp.saturating_add(LEEWAY_SECONDS as i64) < now.as_second() {
        return Err(TokenError::Expired);
    }
    Ok(Claimed {
        user_id: claims.sub,
        session_id: claims.sid,
    })
}
