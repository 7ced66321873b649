//! Which client's request a message belongs to: so that one id is found in the logs of coordinator and node.

use std::fmt;

/// What clients know their request by: up to 128 visible ASCII characters, or nothing. Held in place, so that messages that
/// carry it stay small values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    bytes: [u8; Self::MAX_LEN],
    len: u8,
}

impl RequestId {
    pub const MAX_LEN: usize = 128;
    /// Of what no client has asked for.
    pub const NONE: Self = Self {
        bytes: [0; Self::MAX_LEN],
        len: 0,
    };

    /// Text that is no such id is none: nobody is refused for the name of his request, and no log holds what it cannot.
    pub fn new(text: &str) -> Self {
        let mut id = Self::NONE;
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if let (true, Some(place)) = (visible, id.bytes.get_mut(..text.len())) {
            place.copy_from_slice(text.as_bytes());
            id.len = text.len() as u8; // 128 at most
        }
        id
    }

    /// Empty when there is none.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len));
        let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.unwrap_or_default()
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::NONE
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_id_is_none() {
        let longest = "x".repeat(RequestId::MAX_LEN);
        for text in ["0198-a", &longest] {
            assert_eq!(RequestId::new(text).as_str(), text);
        }
        for text in ["", "a b", "a\n", "ü", &"x".repeat(RequestId::MAX_LEN + 1)] {
            assert_eq!(RequestId::new(text), RequestId::NONE, "{text:?}");
        }
    }
}
