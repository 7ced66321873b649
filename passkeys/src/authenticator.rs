//! An authenticator and its browser in software, for tests: it makes keys (P-256), keeps them, and answers as
//! `PublicKeyCredential.toJSON()` does. It signs whatever it is asked, as far as a browser would let it.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const HAS_KEY: u8 = 0x40;

/// Keys that it has for one site.
pub struct Authenticator {
    /// Of the page that asks.
    pub origin: String,
    site: String,
    keys: Vec<Key>,
    /// Whether it looks who uses it.
    pub verifies: bool,
}

struct Key {
    id: Vec<u8>,
    owner: Vec<u8>,
    pair: EcdsaKeyPair,
    counter: u32,
}

/// Why it does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unable {
    #[error("the question is none for this authenticator")]
    Question,
    #[error("there is no key for it")]
    NoKey,
    #[error("a key for this account is here already")]
    Excluded,
    #[error("no key can be made")]
    Crypto,
}

impl Authenticator {
    /// As a browser uses it on a page of this origin, of the site with this name.
    pub fn new(origin: &str, site: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            site: site.to_owned(),
            keys: Vec::new(),
            verifies: true,
        }
    }

    /// `navigator.credentials.create`
    pub fn create(&mut self, options: &Value) -> Result<Value, Unable> {
        let asked = &options["publicKey"];
        let excluded = asked["excludeCredentials"].as_array();
        for known in excluded.into_iter().flatten() {
            let id = bytes(&known["id"])?;
            if self.keys.iter().any(|key| key.id == id) {
                return Err(Unable::Excluded);
            }
        }
        let random = SystemRandom::new();
        let mut id = vec![0; 32];
        random.fill(&mut id).map_err(|_| Unable::Crypto)?;
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING);
        let key = Key {
            id: id.clone(),
            owner: bytes(&asked["user"]["id"])?,
            pair: pair.map_err(|_| Unable::Crypto)?,
            counter: 0,
        };
        let data = self.data(key.counter, HAS_KEY);
        let data = [&data[..], &[0; 16], &[0, 32], &id, &cose(&key.pair)].concat();
        // {"fmt": "none", "attStmt": {}, "authData": data}
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59".to_vec();
        let length = u16::try_from(data.len()).map_err(|_| Unable::Crypto)?;
        object.extend(length.to_be_bytes());
        object.extend(data);
        let client = self.client_data("webauthn.create", &asked["challenge"]);
        self.keys.push(key);
        Ok(json!({
            "id": BASE64.encode(&id), "rawId": BASE64.encode(&id), "type": "public-key",
            "authenticatorAttachment": "platform", "clientExtensionResults": {},
            "response": {
                "attestationObject": BASE64.encode(object), "clientDataJSON": BASE64.encode(client),
                "transports": ["internal"],
            },
        }))
    }

    /// `navigator.credentials.get`
    pub fn get(&mut self, options: &Value) -> Result<Value, Unable> {
        let asked = &options["publicKey"];
        if asked["rpId"] != self.site.as_str() {
            return Err(Unable::Question);
        }
        let allowed = asked["allowCredentials"].as_array();
        let allowed: Vec<Vec<u8>> = allowed
            .into_iter()
            .flatten()
            .map(|known| bytes(&known["id"]))
            .collect::<Result<_, _>>()?;
        let usable = |key: &Key| allowed.is_empty() || allowed.contains(&key.id);
        let place = self.keys.iter().rposition(usable).ok_or(Unable::NoKey)?;
        self.keys[place].counter += 1;
        let data = self.data(self.keys[place].counter, 0);
        let client = self.client_data("webauthn.get", &asked["challenge"]);
        let signed = [&data[..], digest(&SHA256, &client).as_ref()].concat();
        let key = &self.keys[place];
        let signature = key.pair.sign(&SystemRandom::new(), &signed);
        let signature = signature.map_err(|_| Unable::Crypto)?;
        Ok(json!({
            "id": BASE64.encode(&key.id), "rawId": BASE64.encode(&key.id), "type": "public-key",
            "authenticatorAttachment": "platform", "clientExtensionResults": {},
            "response": {
                "authenticatorData": BASE64.encode(data), "clientDataJSON": BASE64.encode(client),
                "signature": BASE64.encode(signature), "userHandle": BASE64.encode(&key.owner),
            },
        }))
    }

    /// Authenticator data, up to where a new key stands.
    fn data(&self, counter: u32, flags: u8) -> Vec<u8> {
        let verified = if self.verifies { USER_VERIFIED } else { 0 };
        let site = digest(&SHA256, self.site.as_bytes());
        let flags = [USER_PRESENT | verified | flags];
        [site.as_ref(), &flags, &counter.to_be_bytes()].concat()
    }

    fn client_data(&self, kind: &str, challenge: &Value) -> Vec<u8> {
        let data = json!({
            "type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false,
        });
        data.to_string().into_bytes()
    }
}

fn bytes(text: &Value) -> Result<Vec<u8>, Unable> {
    let text = text.as_str().ok_or(Unable::Question)?;
    BASE64.decode(text).map_err(|_| Unable::Question)
}

/// {1: 2, 3: -7, -1: 1, -2: x, -3: y}: a key of ES256 (RFC 9053).
fn cose(pair: &EcdsaKeyPair) -> Vec<u8> {
    let point = pair.public_key().as_ref(); // 4, x, y
    let (x, y) = point[1..].split_at(32);
    let mut key = b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20".to_vec();
    key.extend(x);
    key.extend(b"\x22\x58\x20");
    key.extend(y);
    key
}
