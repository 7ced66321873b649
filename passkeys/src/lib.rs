//! Passkeys (WebAuthn): what a site asks of a browser, and whether what comes back is from the key that was registered.
//!
//! A passkey is asked for the user's verification (a finger, a PIN) each time, so it is two factors in one, and it answers
//! to the site's own name alone, so nobody can have it sign for another. Every ceremony has a state, which its caller keeps
//! out of the client's reach, and takes once. Attestation is not asked for: what brand a key is decides nothing here. Rejected:
//! CBOR, COSE and signatures of our own (decision 120).
//!
//! ```
//! let site = passkeys::Site::at("https://storage.example.com")?;
//! let begun = site.ask(&[])?;
//! assert_eq!(begun.options["publicKey"]["rpId"], "storage.example.com");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![warn(unreachable_pub)]

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;
use webauthn_rs::prelude::{
    CreationChallengeResponse, DiscoverableAuthentication, Passkey, PasskeyRegistration,
    PublicKeyCredential, RegisterPublicKeyCredential, Url, Webauthn, WebauthnBuilder,
    WebauthnError,
};

#[cfg(feature = "authenticator")]
pub mod authenticator;

/// How long a ceremony may take.
pub const GOOD_FOR: Duration = Duration::from_secs(5 * 60);

/// The longest id that a credential may have.
const LONGEST_ID: usize = 1023;

/// The site has no name that browsers would bind a key to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "passkeys are bound to the name of a site: http.public_url has to be one, over https or of localhost"
)]
pub struct NotASite;

/// What a browser sent is none of a passkey that is known here, or not to what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("this is not what a browser answers: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("the passkey's answer does not hold: {0}")]
    Webauthn(#[from] WebauthnError),
    #[error("the id of this passkey is empty, or longer than {LONGEST_ID} bytes")]
    Id,
}

/// Something that a browser is asked.
#[derive(Debug, Clone)]
pub struct Begun {
    /// For `navigator.credentials.create` or `.get`; bytes are in base64url.
    pub options: Value,
    /// Is kept, and handed back with the answer once.
    pub state: String,
}

/// A passkey that has just been made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub credential_id: Vec<u8>,
    /// Public key, counter and flags, as [`Site::check`] wants them.
    pub passkey: String,
}

/// Which passkey an answer says that it is from; not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub credential_id: Vec<u8>,
    /// Whose the passkey says that it is.
    pub user: Option<Uuid>,
}

/// The party that passkeys are made for.
#[derive(Debug)]
pub struct Site(Webauthn);

impl Site {
    /// The site at this URL. Browsers take a name and no address, and anything but `https` for `localhost` alone.
    pub fn at(public_url: &str) -> Result<Self, NotASite> {
        let origin = Url::parse(public_url).map_err(|_| NotASite)?;
        let name = origin.domain().ok_or(NotASite)?.to_owned();
        if origin.scheme() != "https" && name != "localhost" {
            return Err(NotASite);
        }
        let site = WebauthnBuilder::new(&name, &origin)
            .and_then(|builder| builder.timeout(GOOD_FOR).rp_name(&name).build());
        site.map(Self).map_err(|_| NotASite)
    }

    /// Has a passkey made for an account, on an authenticator that has none of the known ones.
    pub fn register(&self, account: Uuid, name: &str, known: &[Vec<u8>]) -> Result<Begun, Refused> {
        let known = known.iter().map(|id| id.as_slice().into()).collect();
        let begun = self
            .0
            .start_passkey_registration(account, name, name, Some(known));
        let (asked, state) = begun?;
        Ok(Begun {
            options: discoverable(&asked)?,
            state: serde_json::to_string(&state)?,
        })
    }

    /// What the browser has made of that.
    pub fn registered(&self, state: &str, answer: &Value) -> Result<Made, Refused> {
        let state: PasskeyRegistration = serde_json::from_str(state)?;
        let answer: RegisterPublicKeyCredential = serde_json::from_value(answer.clone())?;
        let made = self.0.finish_passkey_registration(&answer, &state)?;
        let credential_id = made.cred_id().to_vec();
        if !(1..=LONGEST_ID).contains(&credential_id.len()) {
            return Err(Refused::Id);
        }
        Ok(Made {
            credential_id,
            passkey: serde_json::to_string(&made)?,
        })
    }

    /// Has any passkey of the site shown, or one of the known ones.
    pub fn ask(&self, known: &[Vec<u8>]) -> Result<Begun, Refused> {
        let (mut asked, state) = self.0.start_discoverable_authentication()?;
        asked.mediation = None; // whether it is offered while somebody types is for the page to say
        let mut options = serde_json::to_value(&asked)?;
        if let Some(of_key) = options.get_mut("publicKey") {
            let known = known.iter().map(|id| URL_SAFE_NO_PAD.encode(id));
            of_key["allowCredentials"] = known
                .map(|id| json!({"type": "public-key", "id": id}))
                .collect();
        }
        Ok(Begun {
            options,
            state: serde_json::to_string(&state)?,
        })
    }

    /// Whether this passkey was shown, to what was asked. Where its counter or flags have moved, as it is kept from now on.
    pub fn check(
        &self,
        state: &str,
        answer: &Value,
        passkey: &str,
    ) -> Result<Option<String>, Refused> {
        let state: DiscoverableAuthentication = serde_json::from_str(state)?;
        let answer: PublicKeyCredential = serde_json::from_value(answer.clone())?;
        let mut passkey: Passkey = serde_json::from_str(passkey)?;
        let shown = self
            .0
            .finish_discoverable_authentication_v2(&answer, state, &passkey)?;
        let changed = passkey.update_credential(&shown) == Some(true);
        match changed {
            true => Ok(Some(serde_json::to_string(&passkey)?)),
            false => Ok(None),
        }
    }
}

/// Which passkey it is to be checked with.
pub fn claim(answer: &Value) -> Result<Claim, Refused> {
    let answer: PublicKeyCredential = serde_json::from_value(answer.clone())?;
    let user = answer.get_user_unique_id();
    Ok(Claim {
        credential_id: answer.get_credential_id().to_vec(),
        user: user.and_then(|id| Uuid::from_slice(id).ok()),
    })
}

/// Whoever logs in names no account: the authenticator has to find the passkey by the site alone.
fn discoverable(asked: &CreationChallengeResponse) -> Result<Value, serde_json::Error> {
    let mut options = serde_json::to_value(asked)?;
    if let Some(selection) = options.pointer_mut("/publicKey/authenticatorSelection") {
        selection["residentKey"] = json!("required");
        selection["requireResidentKey"] = json!(true);
    }
    Ok(options)
}

/// The id of a passkey that a browser says it has made; not checked.
pub fn made_id(answer: &Value) -> Result<Vec<u8>, Refused> {
    let answer: RegisterPublicKeyCredential = serde_json::from_value(answer.clone())?;
    Ok(answer.raw_id.clone())
}
