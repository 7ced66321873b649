//! Which chunks a coordinator lacks. It names a thousand and how many there are, which says all where the others are the
//! end of the file; that is how it is after an upload was interrupted.

use std::iter;
use std::ops::Range;

use api::uploads::UploadStatus;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// Those that are known, in order.
    pub ranges: Vec<Range<u32>>,
    /// In all.
    pub count: u64,
}

impl Missing {
    pub(crate) fn all(count: u32) -> Self {
        Self {
            ranges: iter::once(0..count).collect(),
            count: count.into(),
        }
    }

    pub(crate) fn of(status: &UploadStatus, count: u32) -> Self {
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for index in status
            .missing
            .iter()
            .copied()
            .filter(|index| *index < count)
        {
            match ranges.last_mut().filter(|last| last.end == index) {
                Some(last) => last.end += 1,
                None => ranges.push(index..index + 1),
            }
        }
        let unnamed = status
            .missing_count
            .saturating_sub(status.missing.len() as u64);
        if let Some(last) = ranges.last_mut()
            && unnamed > 0
            && unnamed == u64::from(count - last.end)
        {
            last.end = count;
        }
        Self {
            ranges,
            count: status.missing_count.min(count.into()),
        }
    }
}

/// Cuts a range so that no run has more than `most` chunks, and each ends where it would if nothing were there yet.
pub(super) fn runs(range: &Range<u32>, most: u32) -> impl Iterator<Item = Range<u32>> + use<> {
    let (mut at, end) = (range.start, range.end);
    std::iter::from_fn(move || {
        let next = (at / most + 1).saturating_mul(most).min(end);
        let run = at..next;
        at = next;
        (!run.is_empty()).then_some(run)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(missing: Vec<u32>, count: u64) -> UploadStatus {
        let status = serde_json::json!({
            "upload_id": "01938a4f-7b2c-7d3e-8f90-a1b2c3d4e5f6",
            "file_id": "01938a4f-7b2c-7d3e-8f90-a1b2c3d4e5f6",
            "state": "open", "chunk_count": null, "missing": missing, "missing_count": count, "chunks": [],
            "expires_at": "2026-12-01T00:00:00Z",
        });
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn what_is_not_named_is_known_where_it_is_the_end() {
        let end = Missing::of(&status(vec![2, 3, 7, 8], 14), 19);
        assert_eq!(end.ranges, [2..4, 7..19]);
        let gaps = Missing::of(&status(vec![2, 3, 7, 8], 13), 19);
        assert_eq!((gaps.ranges, gaps.count), (vec![2..4, 7..9], 13));
        assert_eq!(Missing::of(&status(vec![], 0), 19).ranges, []);
        // What no coordinator says.
        assert_eq!(Missing::of(&status(vec![30], 1), 19).ranges, []);
    }

    proptest! {
        #[test]
        fn runs_are_the_range(start in 0u32..100, length in 0u32..100, most in 1u32..20) {
            let all: Vec<u32> = runs(&(start..start + length), most).flatten().collect();
            prop_assert_eq!(all, (start..start + length).collect::<Vec<_>>());
            prop_assert!(runs(&(start..start + length), most).all(|run| run.len() as u32 <= most));
        }
    }
}
