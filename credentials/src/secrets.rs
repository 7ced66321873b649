//! Random secrets that are handed out once and kept hashed: refresh tokens, API keys, node tokens.

use rand::CryptoRng;
use uuid::Uuid;
use zeroize::Zeroizing;

/// 32 random bytes behind a prefix that says what they are for.
pub fn generate(prefix: &str, rng: &mut impl CryptoRng) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut bytes[..]);
    Zeroizing::new(format!("{prefix}_{}", hex::encode(&bytes[..])))
}

/// What is kept. The secrets have 256 bits of chance, so a plain hash is as good as a slow one.
pub fn hash(secret: &str) -> [u8; 32] {
    blake3::derive_key("fsn secret v1", secret.as_bytes())
}

const REFRESH_PREFIX: &str = "fsnr_";

/// A refresh token that names its login: only who has held a token of it knows the id, which is nowhere shown. So a used
/// token is recognised by its login, and need not be kept.
fn refresh_token(login: Uuid, secret: &[u8; 32]) -> Zeroizing<String> {
    let (login, secret) = (login.simple(), Zeroizing::new(hex::encode(secret)));
    Zeroizing::new(format!("{REFRESH_PREFIX}{login}{}", secret.as_str()))
}

/// The first refresh token of a login.
pub fn first_refresh_token(login: Uuid, rng: &mut impl CryptoRng) -> Zeroizing<String> {
    let mut secret = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut secret[..]);
    refresh_token(login, &secret)
}

/// The one that follows `token`: always the same, so that an answer that was lost can be given again although no token
/// is kept. Nobody makes it without the key.
pub fn next_refresh_token(key: &[u8; 32], login: Uuid, token: &str) -> Zeroizing<String> {
    let key = Zeroizing::new(blake3::derive_key("fsn refresh token v1", key));
    refresh_token(login, blake3::keyed_hash(&key, token.as_bytes()).as_bytes())
}

/// The login that a refresh token names; those of older coordinators name none.
pub fn login_of(token: &str) -> Option<Uuid> {
    let digits = token.strip_prefix(REFRESH_PREFIX)?;
    if digits.len() != 96 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    Uuid::try_parse(digits.get(..32)?).ok()
}

#[cfg(test)]
mod tests {
    use kit::Entropy;

    use super::*;

    #[test]
    fn a_refresh_token_has_one_successor_under_each_key() {
        let login = Uuid::from_u128(7);
        let first = first_refresh_token(login, &mut Entropy::seeded(1).rng());
        let next = next_refresh_token(&[1; 32], login, &first);
        assert_eq!(next, next_refresh_token(&[1; 32], login, &first));
        assert_ne!(next, next_refresh_token(&[2; 32], login, &first));
        assert_ne!(next, next_refresh_token(&[1; 32], login, &next));
        assert_eq!(login_of(&first), Some(login));
        assert_eq!(login_of(&next), Some(login));
    }

    #[test]
    fn what_is_no_refresh_token_of_today_names_no_login() {
        let old = generate("fsnr", &mut Entropy::seeded(1).rng());
        let odd = format!("fsnr_{}é", "0".repeat(94));
        for text in [&old, "", "fsnr_", &odd, &"0".repeat(101)] {
            assert_eq!(login_of(text), None, "{text:?}");
        }
    }
}
