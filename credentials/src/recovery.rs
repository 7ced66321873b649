//! Recovery codes: what lets somebody in once who has lost his authenticator app.
//!
//! 120 bits of chance each (OWASP ASVS 6.5.2 asks for 112), so that a plain hash is enough to keep them; in letters and digits that are not taken for each
//! other, in groups, and read in any case and with any separators.

use rand::CryptoRng;
use zeroize::Zeroizing;

/// Codes that an account has at one time.
pub const COUNT: usize = 10;

const LETTERS: usize = 24;
/// Codes of 80 bits, made by the build before, are taken as long as their owners have some.
const LETTERS_BEFORE: usize = 16;
const GROUP: usize = 4;

/// Crockford's alphabet: without i, l, o and u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A fresh set, as its owner notes it down: `k3m9-…`, 24 letters in groups of four.
pub fn generate(rng: &mut impl CryptoRng) -> Vec<Zeroizing<String>> {
    let mut code = || {
        let mut code = Zeroizing::new(String::with_capacity(LETTERS + LETTERS / GROUP));
        for at in 0..LETTERS {
            if at > 0 && at % GROUP == 0 {
                code.push('-');
            }
            let letter = ALPHABET[(rng.next_u32() % 32) as usize];
            code.push(char::from(letter));
        }
        code
    };
    (0..COUNT).map(|_| code()).collect()
}

/// The one form of all ways to type a code; `None` for what can be none.
pub fn form(text: &str) -> Option<Zeroizing<String>> {
    let mut form = Zeroizing::new(String::with_capacity(LETTERS));
    for letter in text.chars().filter(|c| !c.is_whitespace() && *c != '-') {
        let letter = match letter.to_ascii_lowercase() {
            'o' => '0',
            'i' | 'l' => '1',
            letter => letter,
        };
        let is_known = u8::try_from(letter).is_ok_and(|letter| ALPHABET.contains(&letter));
        if form.len() == LETTERS || !is_known {
            return None;
        }
        form.push(letter);
    }
    [LETTERS, LETTERS_BEFORE]
        .contains(&form.len())
        .then_some(form)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_set_of_codes_has_ten_that_differ_and_each_is_read_as_it_was_noted() {
        let codes = generate(&mut StdRng::seed_from_u64(7));
        assert_eq!(codes.len(), COUNT);
        for (at, code) in codes.iter().enumerate() {
            assert_eq!(code.len(), 29, "{}", code.as_str());
            assert!(codes[..at].iter().all(|other| other != code));
            let form = form(code).unwrap();
            assert_eq!(code.replace('-', ""), *form);
        }
    }

    #[test]
    fn a_code_is_the_same_however_it_is_typed() {
        let expected = form("0123-4567-89ab-cdef").unwrap();
        for typed in [
            "0123456789abcdef",
            " 0123 4567 89AB CDEF ",
            "O123-4567-89ab-cdef",
            "oi23-4567-89ab-cdef",
        ] {
            assert_eq!(form(typed).as_ref(), Some(&expected), "{typed}");
        }
        for wrong in [
            "",
            "0123",
            "0123-4567-89ab-cdeu",
            "0123-4567-89ab-cdef-0",
            "０123456789abcdef",
            "0123-4567-89ab-cdef-0123-4567-8",
        ] {
            assert_eq!(form(wrong), None, "{wrong}");
        }
    }
}
