//! Which part of a batch is written next, when one of its items cannot be.
//!
//! The whole at first; when that fails for good, each half by itself, down to the one item that is to blame. So one
//! item that can never be written costs a batch of 64 twelve more transactions, and none of the other items.

use std::ops::Range;

/// The parts of a batch that are still to be written, in order.
///
/// ```
/// use kit::Parts;
///
/// let items = [1, 2, 3, 0, 5];
/// let (mut written, mut refused) = (Vec::new(), Vec::new());
/// let mut parts = Parts::of(items.len());
/// while let Some(part) = parts.take() {
///     let some = &items[part.clone()];
///     if !some.contains(&0) {
///         written.extend(some);
///     } else if !parts.split(part) {
///         refused.extend(some);
///     }
/// }
/// assert_eq!((written, refused), (vec![1, 2, 3, 5], vec![0]));
/// ```
#[derive(Debug)]
pub struct Parts(Vec<Range<usize>>);

impl Parts {
    /// Of a batch of so many items, which are tried together.
    pub fn of(items: usize) -> Self {
        Self(
            std::iter::once(0..items)
                .filter(|all| !all.is_empty())
                .collect(),
        )
    }

    /// What is to be written now.
    pub fn take(&mut self) -> Option<Range<usize>> {
        self.0.pop()
    }

    /// This part could not be written: its halves come next. `false` when it is a single item, which nothing can
    /// be done about.
    pub fn split(&mut self, part: Range<usize>) -> bool {
        if part.len() < 2 {
            return false;
        }
        let middle = part.start + part.len() / 2;
        self.0.extend([middle..part.end, part.start..middle]);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_cannot_be_written_is_left_alone_and_all_else_is_written_once_and_in_order() {
        for (items, bad) in
            (0..=9).flat_map(|items| (0..1u32 << items).map(move |bad| (items, bad)))
        {
            let is_bad = |item: usize| bad >> item & 1 == 1;
            let (mut done, mut tries) = (Vec::new(), 0);
            let mut parts = Parts::of(items);
            while let Some(part) = parts.take() {
                tries += 1;
                let fails = part.clone().any(is_bad);
                if !fails || !parts.split(part.clone()) {
                    done.extend(part.map(|item| (item, fails)));
                }
            }
            let expected: Vec<_> = (0..items).map(|item| (item, is_bad(item))).collect();
            assert_eq!(done, expected);
            assert!(tries <= 1 + bad.count_ones() * 8, "{tries} for {bad:b}");
        }
    }
}
