//! `/balance`, `/credits` and `/auth/credits`: what an account has, what it bought, what moved it.
//!
//! Amounts of money are text from end to end: a float in between could round.

use jiff::Timestamp;
use proto::MicroCredits;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PurchaseBody {
    /// At most two decimals, up to 1,000,000. A number, or text.
    #[cfg_attr(feature = "openapi", schema(value_type = f64, example = 10))]
    pub amount_usd: UsdAmount,
}

/// US dollars in decimal, as they stand in the JSON: `10`, `9.99` or `"9.99"`. Whether it is an amount at
/// all is for the coordinator to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsdAmount(String);

impl UsdAmount {
    /// The digits, without quotation marks.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<u32> for UsdAmount {
    fn from(dollars: u32) -> Self {
        Self(dollars.to_string())
    }
}

/// A number where it is one in JSON, and text otherwise.
impl Serialize for UsdAmount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(&self.0) {
            Ok(number) => number.serialize(serializer),
            Err(_) => serializer.serialize_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for UsdAmount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let text = json.get();
        let unquoted = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        Ok(Self(unquoted.unwrap_or(text).to_owned()))
    }
}

/// A purchase, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Purchased {
    /// The transfer that moved the credits; `null` as long as it is not paid.
    pub transfer_id: Option<Uuid>,
    /// What it buys.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub credited_microcredits: MicroCredits,
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub available_microcredits: MicroCredits,
    /// `null` of one of before purchases had ids.
    #[serde(default)]
    pub purchase_id: Option<Uuid>,
    /// pending, paid, failed, or reversed when the payment was called back.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(example = "paid"))]
    pub state: String,
    /// Who moves the money: stripe, or mock, with which none does.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(example = "mock"))]
    pub provider: String,
    /// Of a pending one: with which the provider's own script takes the payment in the customer's browser. Keep it to
    /// yourself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What an account has. 1 credit = 1,000,000 micro-credits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Balance {
    #[cfg_attr(feature = "openapi", schema(example = "user"))]
    pub owner: String,
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub available_microcredits: MicroCredits,
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub held_microcredits: MicroCredits,
    /// Users only: paid in advance for stored files.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub escrow_microcredits: Option<MicroCredits>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Transaction {
    pub transfer_id: Uuid,
    #[cfg_attr(feature = "openapi", schema(example = "purchase"))]
    pub kind: String,
    /// What `available` gained or lost.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub amount_microcredits: MicroCredits,
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    pub cause: serde_json::Value,
    /// BLAKE3 of the transfer, 64 hex digits: of the fields below and those above, as docs/money.md says.
    pub hash: String,
    /// The ledger block that it is sealed in; `null` for up to a second or two.
    pub block: Option<i64>,
    /// Under which it was posted, once.
    #[serde(default)]
    pub idempotency_key: String,
    /// `cause` as it was hashed, byte for byte.
    #[serde(default)]
    pub cause_text: String,
    /// All that it moved, in the order in which it was hashed.
    #[serde(default)]
    pub entries: Vec<TransactionEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TransactionEntry {
    /// A user, a node, or the platform, which is all zeros.
    pub owner_id: Uuid,
    #[cfg_attr(feature = "openapi", schema(example = "available"))]
    pub account: String,
    /// What the account gained, or lost where it is negative.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub amount_microcredits: MicroCredits,
}
