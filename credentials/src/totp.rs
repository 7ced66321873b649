//! Codes of authenticator apps: TOTP, RFC 6238, with what every app can do: HMAC-SHA-1, six digits, 30 seconds.
//!
//! A clock may be a step behind or ahead. A code is good once: whoever checks one keeps its step, and later ones have to be
//! of a later step. Rejected: the crate `totp-rs`, which is more to read than these functions; SHA-256 and eight digits,
//! which several apps pass over without a word, so that their codes are wrong.

use data_encoding::BASE32_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::CryptoRng;
use sha1::Sha1;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of a secret: as many as the hash gives, which RFC 4226 recommends.
pub const SECRET_BYTES: usize = 20;

const STEP_SECONDS: i64 = 30;
const DIGITS: u32 = 6;

/// Steps by which a clock may be wrong.
const SKEW: i64 = 1;

/// What app and coordinator share.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A fresh one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new(vec![0; SECRET_BYTES]);
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// One that was kept.
    pub fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// To be kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As people type it into an app.
    pub fn base32(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE32_NOPAD.encode(&self.0))
    }

    /// As an app takes it from a QR code.
    pub fn uri(&self, issuer: &str, account: &str) -> Zeroizing<String> {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let (issuer, account, secret) = (encoded(issuer), encoded(account), self.base32());
        Zeroizing::new(format!(
            "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}",
            secret.as_str()
        ))
    }

    /// The step that a code is of, if it is good at this time and of a later step than the last one.
    pub fn check(&self, code: &str, unix_seconds: i64, last_step: Option<i64>) -> Option<i64> {
        let now = unix_seconds.div_euclid(STEP_SECONDS);
        let mut found = None;
        // All are looked at, so that the time it takes tells nothing.
        for step in now - SKEW..=now + SKEW {
            let expected = self.code(step.cast_unsigned());
            let matches = bool::from(expected.as_bytes().ct_eq(code.as_bytes()));
            if matches && last_step.is_none_or(|last| step > last) {
                found = found.or(Some(step));
            }
        }
        found
    }

    /// The code at this time.
    pub fn code_at(&self, unix_seconds: i64) -> String {
        self.code(unix_seconds.div_euclid(STEP_SECONDS).cast_unsigned())
    }

    fn code(&self, step: u64) -> String {
        let number = truncated(&self.0, step) % 10u32.pow(DIGITS);
        format!("{number:06}")
    }
}

/// RFC 4226, 5.3: 31 bits out of the hash, from where its last four bits say.
fn truncated(secret: &[u8], counter: u64) -> u32 {
    // HMAC takes keys of any length, so there is always one.
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret) else {
        return 0;
    };
    mac.update(&counter.to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let offset = usize::from(hash[hash.len() - 1] & 0xf);
    let word = [
        hash[offset],
        hash[offset + 1],
        hash[offset + 2],
        hash[offset + 3],
    ];
    u32::from_be_bytes(word) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::from_bytes(Zeroizing::new(b"12345678901234567890".to_vec()))
    }

    /// RFC 6238, appendix B, SHA-1; of its eight digits the last six.
    #[test]
    fn codes_are_those_of_the_standard() {
        for (time, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(secret().code_at(time), code, "at {time}");
        }
    }

    /// RFC 4226, appendix D.
    #[test]
    fn the_truncated_hash_is_that_of_the_standard() {
        let expected = [
            1_284_755_224,
            1_094_287_082,
            137_359_152,
            1_726_969_429,
            1_640_338_314,
        ];
        for (counter, expected) in expected.into_iter().enumerate() {
            assert_eq!(truncated(secret().as_bytes(), counter as u64), expected);
        }
    }

    #[test]
    fn a_clock_may_be_a_step_wrong_and_no_more() {
        let secret = secret();
        let code = secret.code_at(1_000_000_000);
        let step = 1_000_000_000 / 30;
        for (time, good) in [
            (1_000_000_000 - 60, false),
            (1_000_000_000 - 30, true),
            (1_000_000_000, true),
            (1_000_000_000 + 30, true),
            (1_000_000_000 + 60, false),
        ] {
            assert_eq!(
                secret.check(&code, time, None),
                good.then_some(step),
                "{time}"
            );
        }
    }

    #[test]
    fn a_code_is_good_once_and_none_before_it_is_after_it() {
        let (secret, now) = (secret(), 1_000_000_000);
        let code = secret.code_at(now);
        let step = secret.check(&code, now, None).unwrap();
        assert_eq!(secret.check(&code, now, Some(step)), None);
        let before = secret.code_at(now - 30);
        assert_eq!(secret.check(&before, now, Some(step)), None);
        let after = secret.code_at(now + 30);
        assert_eq!(secret.check(&after, now, Some(step)), Some(step + 1));
    }

    #[test]
    fn an_app_is_told_the_secret_in_its_alphabet_and_names_break_out_of_nothing() {
        let uri = secret().uri("Storage & more", "a?b@example.com");
        assert_eq!(
            uri.as_str(),
            "otpauth://totp/Storage%20%26%20more:a%3Fb%40example%2Ecom\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Storage%20%26%20more"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_but_the_code_is_taken(text: String, time in 0i64..1 << 40) {
            let secret = secret();
            let good = [-30, 0, 30].map(|off| secret.code_at(time + off));
            proptest::prop_assert_eq!(secret.check(&text, time, None).is_some(), good.contains(&text));
        }
    }
}
