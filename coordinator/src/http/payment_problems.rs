//! What went wrong with money in and out, as clients see it.

use api::problem::ProblemKind;
use ledger::PostError;
use payments::{ProviderError, WebhookError};

use super::problem::{Problem, capitalised, key_reused, limited};
use crate::billing::NoProvider;
use crate::billing::destinations::DestinationError;
use crate::billing::payouts::PayoutError;
use crate::billing::purchases::PurchaseError;
use crate::billing::webhook::NoticeError;

impl From<NoProvider> for Problem {
    fn from(error: NoProvider) -> Self {
        let detail = capitalised(&format!("{error}."));
        Self::new(ProblemKind::PaymentsNotConfigured, detail)
    }
}

impl From<ProviderError> for Problem {
    fn from(error: ProviderError) -> Self {
        if let ProviderError::Refused { reason } = error {
            return Self::new(ProblemKind::PaymentRefused, reason);
        }
        let told = anyhow::Error::new(error);
        tracing::warn!("the payment provider is no help: {told:#}");
        Self::new(
            ProblemKind::PaymentProviderAway,
            "The payment provider does not answer as it should right now. What was asked for is kept, and nothing is \
             done twice: ask again in a minute.",
        )
        .retry_after(60)
    }
}

fn suspended(error: &impl std::fmt::Display) -> Problem {
    let detail = format!(
        "{error}. It can buy nothing, and is paid nothing; its files are kept. Ask the network's operator."
    );
    Problem::new(ProblemKind::AccountSuspended, capitalised(&detail))
}

impl From<PurchaseError> for Problem {
    fn from(error: PurchaseError) -> Self {
        match error {
            PurchaseError::NoProvider(error) => error.into(),
            PurchaseError::Provider(error) => error.into(),
            PurchaseError::KeyReused => key_reused(),
            error @ PurchaseError::Suspended(_) => suspended(&error),
            error @ PurchaseError::Refused(_) => Self::new(
                ProblemKind::PaymentRefused,
                capitalised(&format!("{error}. Nothing was credited; buy again under a fresh Idempotency-Key.")),
            ),
            error @ PurchaseError::TooOften { .. } => Self::new(
                ProblemKind::TooManyRequests,
                capitalised(&format!(
                    "{error}. Nothing was charged; buy more at a time, or again tomorrow."
                )),
            )
            .retry_after(3600),
            PurchaseError::TooManyOpen { limit } => Self::new(
                ProblemKind::TooManyPurchases,
                format!(
                    "{limit} purchases of this account are not paid yet, as many as it may have. Nothing was ordered: \
                     pay one, or wait until one is called off."
                ),
            )
            .with(limited(limit.into())),
            PurchaseError::TooMuch { limit } => Self::invalid(format!(
                "`amount_usd`: a purchase may be of at most {limit} USD here. Nothing was charged; buy less at a time."
            )),
            error @ PurchaseError::SoldOut => Self::new(
                ProblemKind::CreditsSoldOut,
                capitalised(&format!("{error}. Nothing was charged.")),
            ),
            PurchaseError::TooLarge(error) => Self::invalid(capitalised(&format!("{error}."))),
            PurchaseError::Ledger(PostError::Database(error)) | PurchaseError::Database(error) => {
                error.into()
            }
            error @ PurchaseError::Ledger(_) => Self::internal(error),
        }
    }
}

impl From<DestinationError> for Problem {
    fn from(error: DestinationError) -> Self {
        match error {
            DestinationError::NoProvider(error) => error.into(),
            DestinationError::None => Self::not_found("payout destination"),
            DestinationError::Provider(error) => error.into(),
            DestinationError::Database(error) => error.into(),
        }
    }
}

impl From<PayoutError> for Problem {
    fn from(error: PayoutError) -> Self {
        match error {
            PayoutError::NoProvider(error) => error.into(),
            PayoutError::Destination(error) => error.into(),
            PayoutError::Provider(error) => error.into(),
            PayoutError::KeyReused => key_reused(),
            error @ PayoutError::Suspended(_) => suspended(&error),
            error @ PayoutError::NoDestination(_) => Self::new(
                ProblemKind::NoPayoutDestination,
                capitalised(&format!("{error}. Nothing was paid out.")),
            ),
            error @ PayoutError::NotWholeCents { .. } => {
                Self::invalid(capitalised(&format!("{error}. Nothing was paid out.")))
            }
            PayoutError::Nothing | PayoutError::TooMuch { .. } => Self::new(
                ProblemKind::NothingToPayOut,
                capitalised(&format!(
                    "{error}. GET /api/v1/balance tells what is available; what is held comes later."
                )),
            ),
            PayoutError::Ledger(PostError::Database(error)) | PayoutError::Database(error) => {
                error.into()
            }
            error @ PayoutError::Ledger(_) => Self::internal(error),
        }
    }
}

impl From<NoticeError> for Problem {
    fn from(error: NoticeError) -> Self {
        match error {
            NoticeError::NoProvider(error) => error.into(),
            NoticeError::Purchase(error) => error.into(),
            NoticeError::Payout(error) => error.into(),
            NoticeError::Webhook(error) => {
                let refused = match &error {
                    WebhookError::BadBody(source) => format!("{error}: {source}"),
                    error => error.to_string(),
                };
                tracing::warn!("a webhook is refused: {refused}");
                let detail = format!("The webhook is not believed: {refused}.");
                Self::new(ProblemKind::WebhookNotVerified, detail)
            }
        }
    }
}
