//! The terms that a file was sold under: which of its bytes are billed. They are fixed when the file begins to come in
//! and stand in its row, so that what was promised holds whatever is sold later.

/// What is smaller is billed as if it had so many bytes: rows, keys and receipts cost the same for every file.
pub const LEAST_BILLED_BYTES: u64 = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terms {
    /// The content, as it was before names were billed.
    Content,
    /// Content and name, and [`LEAST_BILLED_BYTES`] at least.
    ContentAndName { name_bytes: u32 },
}

impl Terms {
    /// What new files are sold under, with so many bytes of name, and of what is kept of them besides.
    pub fn named(bytes: usize) -> Self {
        Self::ContentAndName {
            name_bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        }
    }

    /// What objects are sold under, with so many bytes of content: their key and what is kept of them besides are billed
    /// on top of the least, too, so that long ones are never free. A row keeps that as a longer name.
    pub fn beside(bytes: usize, size_bytes: u64) -> Self {
        let short = LEAST_BILLED_BYTES.saturating_sub(size_bytes) as usize; // no more than the least
        Self::named(bytes.saturating_add(short))
    }

    /// The bytes of one copy that are billed, of so many bytes of content.
    pub const fn billed_bytes(self, size_bytes: u64) -> u64 {
        match self {
            Self::Content => size_bytes,
            Self::ContentAndName { name_bytes } => {
                let bytes = size_bytes.saturating_add(name_bytes as u64);
                if bytes < LEAST_BILLED_BYTES {
                    LEAST_BILLED_BYTES
                } else {
                    bytes
                }
            }
        }
    }

    /// As a row keeps them: the billed bytes of the name.
    pub const fn name_bytes(self) -> Option<u32> {
        match self {
            Self::Content => None,
            Self::ContentAndName { name_bytes } => Some(name_bytes),
        }
    }

    pub const fn from_name_bytes(name_bytes: Option<u32>) -> Self {
        match name_bytes {
            None => Self::Content,
            Some(name_bytes) => Self::ContentAndName { name_bytes },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms(name: &str) -> Terms {
        Terms::named(name.len())
    }

    #[test]
    fn nothing_is_billed_as_less_than_64_kib() {
        for (size, name) in [
            (0, "a"),
            (1, "a"),
            (65_535, "a"),
            (64_512, &*"é".repeat(512)),
        ] {
            assert_eq!(terms(name).billed_bytes(size), 65_536, "{size}");
        }
        assert_eq!(terms("a").billed_bytes(65_536), 65_537);
    }

    #[test]
    fn a_name_is_billed_by_its_bytes_and_not_by_its_letters() {
        assert_eq!(terms("日本").billed_bytes(1_000_000), 1_000_006);
    }

    #[test]
    fn what_was_sold_before_is_billed_as_it_was() {
        for size in [0, 1, 65_536, u64::MAX] {
            assert_eq!(Terms::Content.billed_bytes(size), size);
        }
    }

    #[test]
    fn what_is_kept_of_an_object_is_billed_beside_the_least() {
        for (size, billed) in [
            (0, 65_536 + 100),
            (1, 65_536 + 100),
            (65_536, 65_536 + 100),
            (65_537, 65_537 + 100),
            (1 << 40, (1 << 40) + 100),
        ] {
            assert_eq!(
                Terms::beside(100, size).billed_bytes(size),
                billed,
                "{size}"
            );
        }
    }

    proptest! {
        #[test]
        fn more_content_or_a_longer_name_is_never_billed_as_less(
            size in any::<u64>(), more in 0u64..1 << 40, name in 1u32..=4096, longer in 0u32..=4096,
        ) {
            let billed = |size, name_bytes| Terms::ContentAndName { name_bytes }.billed_bytes(size);
            let now = billed(size, name);
            prop_assert!(now >= LEAST_BILLED_BYTES && now >= size);
            prop_assert!(billed(size.saturating_add(more), name + longer) >= now);
            let exact = (u128::from(size) + u128::from(name)).max(65_536).min(u128::from(u64::MAX));
            prop_assert_eq!(u128::from(now), exact);
        }

        #[test]
        fn a_row_gives_back_the_terms_that_it_was_given(name_bytes in prop::option::of(1u32..=4096)) {
            prop_assert_eq!(Terms::from_name_bytes(name_bytes).name_bytes(), name_bytes);
        }
    }
}
