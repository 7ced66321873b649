//! Whom a user has his nodes paid to. With a provider that moves money this is an account of the user's own there: it is
//! made under a key that was written down before, and its owner tells the provider about himself on a page of the
//! provider's, so that no bank account is ever known here.

use model::ids::{UserId, uuid_v7};
use payments::{DestinationOrder, Provider, ProviderError};

use crate::billing::tables::destinations::{self, PayoutDestination};
use crate::billing::{Billing, NoProvider};

#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    #[error(transparent)]
    NoProvider(#[from] NoProvider),
    #[error("there is no destination: set one with PUT /api/v1/payout-destination")]
    None,
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// As the user sees it.
#[derive(Debug)]
pub struct Shown {
    pub destination: PayoutDestination,
    /// Where the owner goes on, as long as the provider wants to know something.
    pub onboarding_url: Option<String>,
}

/// Sets it. Where the same one is there, it is that one still, with a fresh page to go on at: a lost answer costs nothing.
pub async fn put(
    billing: &Billing,
    user: UserId,
    country: Option<&str>,
) -> Result<Shown, DestinationError> {
    let provider = billing.provider()?;
    let mut transaction = billing.db.begin().await?;
    let known = destinations::of_user(&mut transaction, user).await?;
    let is_same = |known: &PayoutDestination| {
        known.provider == provider.name().as_str() && known.country.as_deref() == country
    };
    let destination = match known.filter(is_same) {
        Some(known) => known,
        None => {
            let new = PayoutDestination {
                id: uuid_v7(billing.clock.now(), &mut billing.entropy.rng()),
                provider: provider.name().as_str().to_owned(),
                country: country.map(str::to_owned),
                account: None,
                ready: false,
            };
            destinations::put(&mut transaction, user, &new).await?;
            new
        }
    };
    transaction.commit().await?;
    let destination = refreshed(billing, provider, destination).await?;
    let onboarding_url = match (&destination.account, destination.ready) {
        (Some(account), false) => provider.onboarding_page(account).await?,
        _ => None,
    };
    Ok(Shown {
        destination,
        onboarding_url,
    })
}

/// How it stands with the provider now.
pub async fn get(billing: &Billing, user: UserId) -> Result<PayoutDestination, DestinationError> {
    let provider = billing.provider()?;
    let mut connection = billing.db.acquire().await?;
    let known = destinations::of_user(&mut connection, user).await?;
    drop(connection);
    let is_own = |known: &PayoutDestination| known.provider == provider.name().as_str();
    let known = known.filter(is_own).ok_or(DestinationError::None)?;
    refreshed(billing, provider, known).await
}

pub async fn delete(billing: &Billing, user: UserId) -> Result<(), DestinationError> {
    let mut connection = billing.db.acquire().await?;
    match destinations::delete(&mut connection, user).await? {
        true => Ok(()),
        false => Err(DestinationError::None),
    }
}

async fn refreshed(
    billing: &Billing,
    provider: &dyn Provider,
    mut known: PayoutDestination,
) -> Result<PayoutDestination, DestinationError> {
    let asked = match &known.account {
        Some(account) => provider.fetch_destination(account).await?,
        None => {
            let order = DestinationOrder {
                id: known.id,
                key: format!("destination:{}", known.id),
                country: known.country.clone(),
            };
            provider.create_destination(&order).await?
        }
    };
    let mut connection = billing.db.acquire().await?;
    destinations::learn(&mut connection, known.id, &asked.name, asked.ready).await?;
    known.account = Some(asked.name);
    known.ready = asked.ready;
    Ok(known)
}
