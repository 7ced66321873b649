//! How much of a file its owner is shown.
//!
//! What opens a chunk lets its owner check what nodes hold. In the hands of an owner who conspires with the nodes it would
//! also let them keep one copy and make the others of it when they are asked. So little of a file is opened at a time that
//! nobody gains by it: he pays for more copies than the nodes save.

/// Chunks of a file of so many that may be opened in a day.
pub fn openable(chunk_count: u64, share: f64) -> u64 {
    let part = (chunk_count as f64 * share.clamp(0.0, 1.0)).floor() as u64;
    part.clamp(1, chunk_count.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_in_a_hundred_is_opened_and_of_a_small_file_one() {
        assert_eq!(openable(1, 0.01), 1);
        assert_eq!(openable(199, 0.01), 1);
        assert_eq!(openable(200, 0.01), 2);
        assert_eq!(openable(20_000_000, 0.01), 200_000);
        assert_eq!(openable(7, 0.0), 1);
        assert_eq!(openable(7, 1.0), 7);
    }

    proptest! {
        #[test]
        fn never_more_than_there_are_and_never_none(chunks in 1u64..1 << 40, share: f64) {
            let openable = openable(chunks, share);
            prop_assert!((1..=chunks).contains(&openable));
        }
    }
}
