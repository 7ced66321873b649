//! `/files/{id}/receipts`, `/files/{id}/proof` and `/files/{id}/sealed`: receipts, proofs and opened blobs as an owner
//! keeps them, and as `coordinator verify-evidence` reads them.
//!
//! The same types write and read, so that what is handed out is what can be checked: whoever has the
//! receipts needs to trust nobody.

pub use proto::evidence::*;
use proto::{NodeId, ProofSeed};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ProofRequest {
    /// 64 hex digits that you have drawn by chance: nobody can have made the proofs beforehand. Drawn
    /// by the coordinator when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub seed: Option<ProofSeed>,
    /// The first chunk, 0 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_index: Option<u32>,
    /// How many chunks, 8 unless told; at most so many that 96 copies are asked for. `next_index` of
    /// the answer says where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

/// Which blob is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct SealedParams {
    /// Of the chunk, from 0.
    pub index: u32,
    /// The node that holds the copy, as `receipts` names it.
    #[cfg_attr(feature = "openapi", param(value_type = uuid::Uuid))]
    pub node: NodeId,
}
