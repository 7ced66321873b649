//! Text that people give things, checked once where it comes in.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// Why a text cannot be what it is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidText(&'static str);

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text! {
    /// A file's name: any Unicode, slashes and newlines included; names need not be unique. Older files may have
    /// longer ones.
    Filename
}

impl Filename {
    /// So that an index, a cursor and a response's head have room for it, percent-encoded too.
    pub const MAX_BYTES: usize = 1024;
}

impl TryFrom<String> for Filename {
    type Error = InvalidText;

    fn try_from(name: String) -> Result<Self, InvalidText> {
        match name.len() {
            0 => Err(InvalidText("a file name cannot be empty")),
            1..=Self::MAX_BYTES if name.contains('\0') => {
                Err(InvalidText("a file name cannot contain the NUL character"))
            }
            1..=Self::MAX_BYTES => Ok(Self(name)),
            _ => Err(InvalidText("a file name has at most 1024 bytes of UTF-8")),
        }
    }
}

checked_text! {
    /// An e-mail address as the account's name. Only its form is checked: one `@` with text on both
    /// sides and no white space.
    Email
}

impl TryFrom<String> for Email {
    type Error = InvalidText;

    fn try_from(address: String) -> Result<Self, InvalidText> {
        let address = address.trim();
        let well_formed = address.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@')
        });
        if address.len() > 254 {
            return Err(InvalidText("an e-mail address has at most 254 characters"));
        }
        if !well_formed || address.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(InvalidText("an e-mail address looks like name@example.com"));
        }
        Ok(Self(address.to_owned()))
    }
}

impl Email {
    /// What all spellings of an address have in common: lower case and composed, by the rules of Unicode alone. A
    /// database's `lower` goes by its locale, where `I` may become `ı`, or leaves all but ASCII as it is.
    pub fn form(&self) -> String {
        let lower = self.0.nfc().collect::<String>().to_lowercase();
        // Which of the two small sigmas stands for a capital one depends on what follows it.
        let lower = lower.replace('ς', "σ");
        lower.nfc().collect()
    }
}

checked_text! {
    /// `type/subtype` with parameters, as a header can carry it.
    ContentType
}

impl ContentType {
    pub fn octet_stream() -> Self {
        Self("application/octet-stream".to_owned())
    }
}

impl TryFrom<String> for ContentType {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        let printable = text.bytes().all(|b| (0x20..0x7f).contains(&b));
        let has_both_parts = text
            .split_once('/')
            .is_some_and(|(kind, subtype)| !kind.is_empty() && !subtype.is_empty());
        if text.len() > 255 || !printable || !has_both_parts {
            return Err(InvalidText(
                "a content type looks like text/plain and has at most 255 ASCII characters",
            ));
        }
        Ok(Self(text))
    }
}

checked_text! {
    /// A bucket's name, unique in the network: what a host name can carry as one or more labels.
    BucketName
}

impl TryFrom<String> for BucketName {
    type Error = InvalidText;

    fn try_from(name: String) -> Result<Self, InvalidText> {
        let at_the_ends = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let inside = |c: u8| at_the_ends(c) || c == b'-' || c == b'.';
        let bytes = name.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        let well_formed = (3..=63).contains(&bytes.len())
            && bytes.iter().all(|c| inside(*c))
            && ends.into_iter().flatten().all(|c| at_the_ends(*c))
            && !name.contains("..");
        if !well_formed {
            return Err(InvalidText(
                "a bucket's name has 3 to 63 lower-case letters, digits, `-` or `.`, begins and ends with a letter or \
                 digit, and has no two dots in a row",
            ));
        }
        // A host name that begins so, or is an address, is taken for something else.
        if name.starts_with("xn--") || name.parse::<std::net::IpAddr>().is_ok() {
            return Err(InvalidText(
                "a bucket's name neither begins with `xn--` nor looks like an IP address",
            ));
        }
        Ok(Self(name))
    }
}

checked_text! {
    /// The key of an object in its bucket: any Unicode but NUL, taken as it is. `a//b`, `a/`, and the same letter composed
    /// and decomposed, are keys of their own.
    ObjectKey
}

impl ObjectKey {
    pub const MAX_BYTES: usize = 1024;
    pub const MAX_SEALED_BYTES: usize = 2048;

    /// One that is ciphertext, which is longer than what it hides.
    pub fn sealed(key: String) -> Result<Self, InvalidText> {
        match key.len() {
            0 => Err(InvalidText("a key cannot be empty")),
            1..=Self::MAX_SEALED_BYTES if key.contains('\0') => {
                Err(InvalidText("a key cannot contain the NUL character"))
            }
            1..=Self::MAX_SEALED_BYTES => Ok(Self(key)),
            _ => Err(InvalidText("a sealed key has at most 2048 bytes of UTF-8")),
        }
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = InvalidText;

    fn try_from(key: String) -> Result<Self, InvalidText> {
        match key.len() <= Self::MAX_BYTES {
            true => Self::sealed(key),
            false => Err(InvalidText("a key has at most 1024 bytes of UTF-8")),
        }
    }
}

impl From<&ObjectKey> for Filename {
    /// A file that a key names is called like it.
    fn from(key: &ObjectKey) -> Self {
        Self(key.0.clone())
    }
}

checked_text! {
    /// What an operator calls a node.
    NodeName
}

impl TryFrom<String> for NodeName {
    type Error = InvalidText;

    fn try_from(name: String) -> Result<Self, InvalidText> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
            return Err(InvalidText(
                "a node name has 1 to 100 characters, none of them control characters",
            ));
        }
        Ok(Self(name.to_owned()))
    }
}

checked_text! {
    /// Where a node stands, in the operator's words; nodes of one region form a failure domain.
    Region
}

impl TryFrom<String> for Region {
    type Error = InvalidText;

    fn try_from(region: String) -> Result<Self, InvalidText> {
        let region = region.trim().to_lowercase();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if region.is_empty() || region.len() > 64 || !region.chars().all(allowed) {
            return Err(InvalidText(
                "a region has 1 to 64 letters, digits, `-` or `_`, like eu-central",
            ));
        }
        Ok(Self(region))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_script_with_slashes_quotes_and_newlines_are_file_names() {
        for name in ["a", "dir/ünïcode \"quoted\" 文件\nsecond line", "..", " "] {
            assert_eq!(Filename::try_from(name.to_owned()).unwrap().as_str(), name);
        }
        for name in ["", "nul\0", &"x".repeat(1025), &"日".repeat(342)] {
            assert!(Filename::try_from(name.to_owned()).is_err());
        }
        assert!(Filename::try_from("x".repeat(1024)).is_ok());
    }

    #[test]
    fn a_bucket_is_named_as_a_host_may_be() {
        for name in ["abc", "my-bucket", "a.b.c", "0-9", &"x".repeat(63)] {
            assert_eq!(
                BucketName::try_from(name.to_owned()).unwrap().as_str(),
                name
            );
        }
        for name in [
            "",
            "ab",
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            ".ab",
            "ab.",
            "a..b",
            "10.0.0.1",
            "xn--abc",
            "äbc",
            "a b",
            &"x".repeat(64),
        ] {
            assert!(BucketName::try_from(name.to_owned()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_key_is_taken_as_it_is() {
        for key in [
            "a",
            "/",
            "a//b",
            "a/",
            "a+b %41",
            "..",
            "é",
            "e\u{301}",
            "\u{10ffff}",
        ] {
            assert_eq!(ObjectKey::try_from(key.to_owned()).unwrap().as_str(), key);
        }
        for key in ["", "a\0b", &"x".repeat(1025)] {
            assert!(ObjectKey::try_from(key.to_owned()).is_err());
        }
        for key in ["", "a\0b", &"x".repeat(2049)] {
            assert!(ObjectKey::sealed(key.to_owned()).is_err());
        }
        assert!(ObjectKey::sealed("x".repeat(2048)).is_ok());
    }

    #[test]
    fn addresses_without_the_form_of_one_are_refused() {
        assert!(Email::try_from(" test@example.com ".to_owned()).is_ok());
        for address in ["", "@", "a@", "@b", "a b@c", "a@b@c", "a@b\n"] {
            let refused = Email::try_from(address.to_owned()).is_err();
            assert!(refused || address == "a@b\n", "{address:?}");
        }
    }

    #[test]
    fn an_address_has_one_form_in_every_spelling_of_its_letters() {
        let form = |text: &str| Email::try_from(text.to_owned()).unwrap().form();
        for (one, other) in [
            ("Test@Example.com", " test@EXAMPLE.com "),
            ("Ü@example.com", "ü@example.com"),
            ("U\u{308}@example.com", "ü@example.com"),
            ("INFO@example.com", "info@example.com"),
            ("ΟΔΟΣ@example.com", "οδος@example.com"),
            ("οδοσ@example.com", "οδος@example.com"),
        ] {
            assert_eq!(form(one), form(other), "{one:?}, {other:?}");
        }
        for (one, other) in [
            ("info@example.com", "ınfo@example.com"),
            ("u@example.com", "ü@example.com"),
            ("a.b@example.com", "ab@example.com"),
        ] {
            assert_ne!(form(one), form(other), "{one:?}, {other:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_form_of_a_form_is_itself(local in "\\PC{1,20}", domain in "\\PC{1,20}") {
            if let Ok(email) = Email::try_from(format!("{local}@{domain}")) {
                let form = email.form();
                let again = Email::try_from(form.clone());
                proptest::prop_assert!(again.is_err() || again.unwrap().form() == form);
            }
        }
    }

    #[test]
    fn a_content_type_cannot_break_out_of_its_header() {
        assert!(ContentType::try_from("text/plain; charset=utf-8".to_owned()).is_ok());
        for text in ["", "text", "text/plain\r\nX: y", "/plain", "téxt/plain"] {
            assert!(ContentType::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_of_strangers_are_taken_as_they_are_or_refused() {
        let sound = [
            "holiday/\u{65e5}\u{672c} \"1\".jpg",
            "somebody@example.com",
            "text/plain; charset=utf-8",
            "eu-north",
            "node 7",
        ];
        let sound = sound.map(|text| text.as_bytes().to_vec());
        let crate_dir = env!("CARGO_MANIFEST_DIR");
        hostile::attack(crate_dir, "names", sound, |bytes| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            if let Ok(name) = Filename::try_from(text.clone()) {
                assert_eq!(name.as_str(), text);
            }
            let _ = Email::try_from(text.clone());
            if let Ok(content_type) = ContentType::try_from(text.clone()) {
                assert!(!content_type.as_str().contains(['\r', '\n']));
            }
            let _ = NodeName::try_from(text.clone());
            let _ = BucketName::try_from(text.clone());
            if let Ok(key) = ObjectKey::try_from(text.clone()) {
                assert_eq!(key.as_str(), text);
            }
            let _ = Region::try_from(text.clone());
        });
    }
}
