//! Which passwords are taken: long enough, and none of those that are tried first.
//!
//! Nothing else is asked of them, as NIST SP 800-63B and OWASP ASVS want it: no kinds of characters, no end of life. Which
//! are tried first is estimated by `zxcvbn`, from its lists of common passwords, names and words, from patterns on a
//! keyboard and from what is known of the account. Rejected: a list of our own, which would be long or full of holes.

/// Nobody is kept from a sentence; more would only cost time.
pub const MOST_CHARACTERS: usize = 1024;

/// A password that an attacker finds among his first so many.
const FIRST_TRIED: u64 = 1_000_000;

/// What a network asks of passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// In characters.
    pub least_characters: usize,
    /// Those that are guessed first.
    pub refuse_common: bool,
}

/// Why a password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Fewer characters than are asked for.
    #[error("a password has at least {least} characters")]
    TooShort {
        /// Characters that it has to have.
        least: usize,
    },
    /// More than anybody remembers.
    #[error("a password has at most {MOST_CHARACTERS} characters")]
    TooLong,
    /// Among those that are guessed first.
    #[error(
        "this password is among the first million that somebody who guesses would try: take one that is longer or less \
         usual, such as a few words that do not belong together"
    )]
    Common,
}

impl Policy {
    /// Only what costs nothing to find out.
    pub fn check_length(&self, password: &str) -> Result<(), WeakPassword> {
        match password.chars().count() {
            length if length < self.least_characters => Err(WeakPassword::TooShort {
                least: self.least_characters,
            }),
            length if length > MOST_CHARACTERS => Err(WeakPassword::TooLong),
            _ => Ok(()),
        }
    }

    /// `known` is what somebody who guesses would know of the account, such as its address. Takes milliseconds.
    pub fn check(&self, password: &str, known: &[&str]) -> Result<(), WeakPassword> {
        self.check_length(password)?;
        if !self.refuse_common {
            return Ok(());
        }
        let parts = known
            .iter()
            .flat_map(|text| text.split(['@', '.', '-', '_', '+']));
        let known: Vec<&str> = known.iter().copied().chain(parts).collect();
        match zxcvbn::zxcvbn(password, &known).guesses() {
            guesses if guesses < FIRST_TRIED => Err(WeakPassword::Common),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        least_characters: 8,
        refuse_common: true,
    };

    #[test]
    fn passwords_that_everybody_has_are_refused_in_any_disguise() {
        for common in [
            "password",
            "12345678",
            "qwertyui",
            "iloveyou",
            "P@ssw0rd",
            "aaaaaaaaaaaa",
            "abcdefgh1",
            "test1234",
            "superman1",
            "19840117",
        ] {
            assert_eq!(
                POLICY.check(common, &[]),
                Err(WeakPassword::Common),
                "{common}"
            );
        }
    }

    #[test]
    fn words_that_do_not_belong_together_are_good_and_so_is_chance() {
        for good in [
            "correct horse",
            "violet anchor 72 cloud",
            "k7#mQ2pz!x",
            "日本語のとても長い文",
        ] {
            assert_eq!(POLICY.check(good, &[]), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_known_of_the_account_is_no_password() {
        let known = ["hieronymus.karl@example.com"];
        for guessed in ["hieronymus", "hieronymus.karl@example.com", "Hieronymus1"] {
            assert_eq!(
                POLICY.check(guessed, &known),
                Err(WeakPassword::Common),
                "{guessed}"
            );
        }
    }

    #[test]
    fn length_is_counted_in_characters_and_has_its_bounds_where_common_ones_are_taken_too() {
        let policy = Policy {
            least_characters: 7,
            refuse_common: false,
        };
        assert_eq!(
            policy.check("test12", &[]),
            Err(WeakPassword::TooShort { least: 7 })
        );
        assert!(policy.check("test123", &[]).is_ok());
        assert!(policy.check("üüüüüüü", &[]).is_ok());
        assert!(policy.check(&"ü".repeat(1024), &[]).is_ok());
        assert_eq!(
            policy.check(&"ü".repeat(1025), &[]),
            Err(WeakPassword::TooLong)
        );
    }

    #[test]
    fn any_text_is_taken_or_refused() {
        let sound = ["violet anchor 72 cloud", "P@ssw0rd"].map(|text| text.as_bytes().to_vec());
        hostile::attack(env!("CARGO_MANIFEST_DIR"), "passwords", sound, |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let _ = POLICY.check_length(&text);
        });
    }
}
