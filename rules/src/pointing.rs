//! Whether a name may be pointed at a file that comes in, and which version has to go for it, by what is known under the
//! locks.

use std::collections::{HashMap, HashSet};

use model::ids::{BucketId, MultipartId, VersionId};
use model::objects::{
    ContentSum, NewObject, ObjectContent, Target, TargetRefusal, Versioning, WriteCondition,
};

pub type Verdict = Result<(), TargetRefusal>;

/// What stands of a key that is about to be written: its latest version, and the null version, which may be one.
#[derive(Debug, Clone)]
pub struct Standing {
    pub id: VersionId,
    pub is_latest: bool,
    pub is_null: bool,
    /// `None` of a marker.
    pub etag: Option<String>,
}

/// Buckets that are there, and uploads in parts that are under way.
#[derive(Debug, Clone, Default)]
pub struct Places {
    pub buckets: HashMap<BucketId, Versioning>,
    pub multiparts: HashSet<MultipartId>,
}

impl Places {
    /// `is_first`: nothing that is written together with it comes before it on the same key.
    pub fn verdict(&self, target: &Target, standing: &[Standing], is_first: bool) -> Verdict {
        match target {
            Target::Part(part) => {
                self.is_under_way(part.multipart)?;
                summed(part.sum.get())
            }
            Target::Object(object) => self.object(object, standing, is_first),
        }
    }

    fn object(&self, object: &NewObject, standing: &[Standing], is_first: bool) -> Verdict {
        if !self.buckets.contains_key(&object.bucket) {
            return Err(TargetRefusal::NoSuchBucket);
        }
        if let Some(multipart) = object.completes() {
            self.is_under_way(multipart)?;
        }
        if object.described.condition != WriteCondition::None {
            // Whether the one before it will be written is not known yet.
            if !is_first {
                return Err(TargetRefusal::Conflict);
            }
            let latest = standing.iter().find(|version| version.is_latest);
            let etag = latest.and_then(|version| version.etag.as_deref());
            if !object.described.condition.holds(etag) {
                return Err(TargetRefusal::ConditionFailed);
            }
        }
        match &object.content {
            ObjectContent::File(slot) => summed(slot.get()),
            ObjectContent::Parts { .. } | ObjectContent::Marker => Ok(()),
        }
    }

    fn is_under_way(&self, multipart: MultipartId) -> Verdict {
        match self.multiparts.contains(&multipart) {
            true => Ok(()),
            false => Err(TargetRefusal::NoSuchMultipart),
        }
    }

    /// Whether what is written to the bucket stays when something else is.
    pub fn keeps(&self, bucket: BucketId) -> bool {
        self.buckets
            .get(&bucket)
            .is_some_and(|versioning| versioning.keeps())
    }

    /// The version that goes when the object comes.
    pub fn replaced(&self, object: &NewObject, standing: &[Standing]) -> Option<VersionId> {
        if self.keeps(object.bucket) {
            return None;
        }
        let null = standing.iter().find(|version| version.is_null);
        null.map(|version| version.id)
    }
}

fn summed(sum: Option<&ContentSum>) -> Verdict {
    sum.map(|_| ()).ok_or(TargetRefusal::Unsummed)
}

#[cfg(test)]
mod tests {
    use model::names::ObjectKey;
    use model::objects::{Described, NewPart, SumSlot};

    use super::*;

    const BUCKET: BucketId = BucketId::from_bytes([1; 16]);
    const MULTIPART: MultipartId = MultipartId::from_bytes([2; 16]);

    fn places(versioning: Versioning) -> Places {
        Places {
            buckets: HashMap::from([(BUCKET, versioning)]),
            multiparts: HashSet::from([MULTIPART]),
        }
    }

    fn sum() -> ContentSum {
        ContentSum {
            etag: "x".to_owned(),
            checksum: None,
        }
    }

    fn object(bucket: BucketId, condition: WriteCondition, content: ObjectContent) -> NewObject {
        NewObject {
            bucket,
            version: VersionId::from_bytes([3; 16]),
            described: Described {
                condition,
                ..Described::plain(ObjectKey::try_from("k".to_owned()).unwrap())
            },
            content,
        }
    }

    fn standing(is_latest: bool, is_null: bool, etag: Option<&str>) -> Standing {
        Standing {
            id: VersionId::from_bytes([u8::from(is_null); 16]),
            is_latest,
            is_null,
            etag: etag.map(str::to_owned),
        }
    }

    #[test]
    fn a_name_is_pointed_at_a_file_where_all_is_as_the_client_says() {
        let parts = |multipart| ObjectContent::Parts {
            parts: Vec::new(),
            sum: sum(),
            multipart,
        };
        let (none, absent) = (WriteCondition::None, WriteCondition::Absent);
        let there = [standing(true, true, Some("x"))];
        let marked = [standing(true, true, None)];
        for (object, standing, is_first, verdict) in [
            (
                object(BUCKET, none.clone(), ObjectContent::Marker),
                &there[..],
                false,
                Ok(()),
            ),
            (
                object(
                    BucketId::from_bytes([9; 16]),
                    none.clone(),
                    ObjectContent::Marker,
                ),
                &[],
                true,
                Err(TargetRefusal::NoSuchBucket),
            ),
            (
                object(BUCKET, none.clone(), parts(Some(MULTIPART))),
                &[],
                true,
                Ok(()),
            ),
            (
                object(
                    BUCKET,
                    none.clone(),
                    parts(Some(MultipartId::from_bytes([9; 16]))),
                ),
                &[],
                true,
                Err(TargetRefusal::NoSuchMultipart),
            ),
            (
                object(BUCKET, none, ObjectContent::File(SumSlot::default())),
                &[],
                true,
                Err(TargetRefusal::Unsummed),
            ),
            (
                object(BUCKET, absent.clone(), ObjectContent::Marker),
                &there,
                true,
                Err(TargetRefusal::ConditionFailed),
            ),
            (
                object(BUCKET, absent.clone(), ObjectContent::Marker),
                &marked,
                true,
                Ok(()),
            ),
            (
                object(BUCKET, absent, ObjectContent::Marker),
                &[],
                false,
                Err(TargetRefusal::Conflict),
            ),
        ] {
            let target = Target::Object(object);
            assert_eq!(
                places(Versioning::Off).verdict(&target, standing, is_first),
                verdict
            );
        }
        let part = |multipart| {
            let slot = SumSlot::default();
            slot.set(sum()).unwrap();
            Target::Part(NewPart {
                multipart,
                number: 1,
                sum: slot,
            })
        };
        let places = places(Versioning::Off);
        assert_eq!(places.verdict(&part(MULTIPART), &[], true), Ok(()));
        let unknown = part(MultipartId::from_bytes([9; 16]));
        assert_eq!(
            places.verdict(&unknown, &[], true),
            Err(TargetRefusal::NoSuchMultipart)
        );
    }

    #[test]
    fn the_null_version_goes_unless_the_bucket_keeps_versions() {
        let new = object(BUCKET, WriteCondition::None, ObjectContent::Marker);
        let there = [
            standing(true, false, Some("x")),
            standing(false, true, Some("y")),
        ];
        for (versioning, gone) in [
            (Versioning::Off, Some(there[1].id)),
            (Versioning::Suspended, Some(there[1].id)),
            (Versioning::Enabled, None),
        ] {
            assert_eq!(places(versioning).replaced(&new, &there), gone);
        }
        assert_eq!(places(Versioning::Off).replaced(&new, &there[..1]), None);
    }
}
