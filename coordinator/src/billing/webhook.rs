//! What the provider tells by itself. Whoever can sign for it is believed that something has happened to this payment,
//! transfer or dispute; what has happened, the provider is asked for.

use payments::{Notice, WebhookError};

use super::payouts::PayoutError;
use super::purchases::PurchaseError;
use crate::billing::{Billing, NoProvider, disputes, payouts, purchases};

#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    #[error(transparent)]
    NoProvider(#[from] NoProvider),
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error(transparent)]
    Purchase(#[from] PurchaseError),
    #[error(transparent)]
    Payout(#[from] PayoutError),
}

/// In which header a webhook is signed.
pub fn signature_header(billing: &Billing) -> Result<&'static str, NoProvider> {
    Ok(billing.provider()?.signature_header())
}

/// An error says that it should be sent again, or that it is not the provider's.
pub async fn take(
    billing: &Billing,
    signature: Option<&str>,
    body: &[u8],
) -> Result<(), NoticeError> {
    let provider = billing.provider()?;
    match provider.notice(signature, body, billing.clock.now())? {
        Notice::Payment { name, order } => {
            purchases::told(billing, provider, &name, order).await?;
        }
        Notice::Transfer { name, order } => payouts::told(billing, provider, &name, order).await?,
        Notice::Dispute { name, payment } => {
            disputes::told(billing, provider, &name, &payment).await?;
        }
        Notice::Other => {}
    }
    Ok(())
}
