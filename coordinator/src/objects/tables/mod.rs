//! The only SQL on buckets, objects and what belongs to them.

pub mod bucket_rules;
pub mod buckets;
pub mod changes;
pub mod lists;
pub mod locks;
pub mod multiparts;
pub mod parts;
pub mod upload_targets;
pub mod versions;
