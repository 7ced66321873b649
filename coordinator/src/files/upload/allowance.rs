//! Whether an upload can be paid for, and whether the account may have one more file.

use proto::MicroCredits;

use crate::billing::purchases;
use crate::files::Files;
use crate::files::tables::allowances;
use crate::files::upload::UploadError;
use model::ids::UserId;
use rules::allowance::{Allowance, Refusal};

/// Before nodes are put to work; what is decided here is decided again under a lock.
pub(super) async fn check(
    files: &Files,
    user: UserId,
    cost: MicroCredits,
) -> Result<(), UploadError> {
    let mut connection = files.db.acquire().await?;
    let limits = &files.rules.limits;
    let mut found = allowances::allowance(&mut connection, user, limits).await?;
    let on_trial = |found: &Option<Allowance>| found.is_some_and(|found| found.file_limit.on_trial);
    // Its row does not tell of purchases before an upgrade.
    if on_trial(&found) && purchases::has_bought(&mut connection, user).await? {
        found = allowances::allowance(&mut connection, user, limits).await?;
    }
    let mut allowance = found.ok_or(UploadError::NotFound)?;
    match allowance.spend(cost) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(refused(refusal, cost)),
    }
}

pub(super) fn refused(refusal: Refusal, cost: MicroCredits) -> UploadError {
    match refusal {
        Refusal::TooManyFiles(limit) => UploadError::TooManyFiles(limit),
        Refusal::TooLittleCredit { available } => UploadError::PaymentRequired { cost, available },
    }
}
