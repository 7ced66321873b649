//! The payment provider that the settings name.

use anyhow::Context;
use kit::config::read_secret;
use payments::{Mock, Provider, ProviderName, Stripe, StripeSettings};

use crate::config::{MoneyConfig, StripeConfig};

/// Reads the secrets that it takes, and says in the log what it is.
pub fn open(
    money: &MoneyConfig,
    stripe: &StripeConfig,
) -> anyhow::Result<Option<Box<dyn Provider>>> {
    match money.provider {
        None => {
            tracing::info!("money.provider is not set: nothing can be bought or paid out");
            Ok(None)
        }
        Some(ProviderName::Mock) => {
            tracing::warn!(
                "money.provider is \"mock\": every purchase counts as paid and every payout as made, and no money moves"
            );
            Ok(Some(Box::new(Mock)))
        }
        Some(ProviderName::Stripe) => {
            let missing = |what: &str| {
                format!("{what} is not set, and money.provider is \"stripe\", which needs it")
            };
            let key = stripe.secret_key_file.as_ref();
            let key = key.with_context(|| missing("stripe.secret_key_file"))?;
            let webhooks = stripe.webhook_secret_file.as_ref();
            let webhooks = webhooks.with_context(|| missing("stripe.webhook_secret_file"))?;
            let opened = Stripe::new(StripeSettings {
                api_url: stripe.api_url.clone(),
                secret_key: read_secret("stripe.secret_key_file", key)?,
                webhook_secret: read_secret("stripe.webhook_secret_file", webhooks)?,
                return_url: stripe.return_url.clone(),
            })?;
            tracing::info!(api_url = stripe.api_url, "payments go through Stripe");
            Ok(Some(Box::new(opened)))
        }
    }
}
