//! `GET /classes`: the storage classes, and what each comes to on this network now.

use serde::{Deserialize, Serialize};

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Classes {
    pub classes: Vec<ClassView>,
}

/// What an upload gets that asks for it with `X-FSN-Class`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClassView {
    #[cfg_attr(feature = "openapi", schema(example = "dense"))]
    pub name: String,
    /// Why nothing can be stored in it now; `null` when something can.
    pub unavailable: Option<String>,
    /// How a file would be kept now; `null` when it cannot be.
    pub scheme: Option<SchemeView>,
}

/// How a file is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SchemeView {
    /// Pieces of each chunk, each on a node of its own. Of copies each is the whole chunk.
    pub pieces: u32,
    /// Any so many of them give the chunk back: 1 of copies.
    pub needed: u32,
    /// With fewer healthy pieces a chunk is repaired, and then up to all.
    pub repair_at: u32,
    /// Shorter files are kept as copies; 0 where all are kept so.
    pub least_bytes: u64,
    pub chunk_size_bytes: u32,
    /// Micro-credits for 10⁹ bytes of files and 30 days.
    pub microcredits_per_gb_month: u64,
}
