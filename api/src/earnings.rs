//! `/nodes/{id}/earnings` and `/nodes/{id}/payouts`: for the node itself, and for its operator.

use jiff::Timestamp;
use proto::MicroCredits;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Why a day paid less than it could have, or a penalty that was given back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PenaltyView {
    /// failed, missed, self_reported; given_back for a miss that was forgiven.
    #[cfg_attr(feature = "openapi", schema(example = "missed"))]
    pub kind: String,
    /// What it costs; negative where it is given back.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub amount_microcredits: MicroCredits,
    /// What the node could pay of it; the rest is forgiven.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub collected_microcredits: MicroCredits,
    /// The blob, when, and what was wrong.
    pub cause: Value,
}

/// What a day came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EarningsDay {
    #[cfg_attr(feature = "openapi", schema(example = "2026-11-21"))]
    pub day: String,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub starts_at: Timestamp,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub ends_at: Timestamp,
    /// Plaintext bytes held, times seconds; in decimal, it may be long.
    pub byte_seconds: String,
    /// Byte-seconds times pay, rounded down; the fraction counts tomorrow.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub gross_microcredits: MicroCredits,
    pub uptime_ppm: u32,
    /// Gross after what low uptime costs.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub earned_microcredits: MicroCredits,
    pub penalties: Vec<PenaltyView>,
    /// What all penalties of the day took.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub penalties_microcredits: MicroCredits,
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub given_back_microcredits: MicroCredits,
    /// Penalties that the node could not pay, and need not.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub uncollected_microcredits: MicroCredits,
    /// Change of both balances together.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub net_microcredits: MicroCredits,
    /// Change of what is held back.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub held_microcredits: MicroCredits,
    /// Change of what can be paid out.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub available_microcredits: MicroCredits,
    pub transfer_id: Option<Uuid>,
}

/// What is not settled yet, as it stands now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PendingEarnings {
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub since: Timestamp,
    /// Plaintext bytes that earn now.
    pub bytes: i64,
    pub byte_seconds: String,
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub gross_microcredits: MicroCredits,
    pub uptime_ppm: u32,
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub earned_microcredits: MicroCredits,
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub penalties_microcredits: MicroCredits,
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub given_back_microcredits: MicroCredits,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Earnings {
    pub pending: PendingEarnings,
    pub days: Vec<EarningsDay>,
    pub next_cursor: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PayoutBody {
    /// All that is available when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub amount_microcredits: Option<MicroCredits>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PayoutView {
    pub payout_id: Uuid,
    pub transfer_id: Uuid,
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub amount_microcredits: MicroCredits,
    /// pending, paid or refused; what was refused is available again. It is paid when the provider has confirmed it.
    #[cfg_attr(feature = "openapi", schema(example = "paid"))]
    pub state: String,
    /// Who moves the money: stripe, or mock, with which none does.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(example = "mock"))]
    pub provider: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub created_at: Option<Timestamp>,
    /// Why it was refused, or what the provider said last of one that is pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whom a user's nodes are paid to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PayoutDestinationBody {
    /// Where whoever is paid lives, in two letters (ISO 3166); the provider's own country when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "DE", pattern = "^[A-Z]{2}$"))]
    pub country: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PayoutDestination {
    #[cfg_attr(feature = "openapi", schema(example = "stripe"))]
    pub provider: String,
    /// Whether payouts can be made: as long as not, the provider wants to know something.
    pub ready: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The provider's page on which the owner goes on; good once, and for minutes. Another `PUT` gives another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onboarding_url: Option<String>,
}
