//! Files that no version names any more end: their owner gets back what is not used of their price.

use kit::Entropy;
use proto::FileId;
use sqlx::PgConnection;

use super::tables::parts;
use crate::billing::charges::{self, ChargeError, FileEnd};
use crate::files::tables::files;

/// So many end in the transaction that lets them go. More are left to a job, a few at a time: to delete an object of ten
/// thousand parts must not hold up those who use the same account.
const AT_ONCE: usize = 64;

/// Of these files, which are locked, ends those that nothing names. Users and accounts are locked by it.
pub(super) async fn end_unnamed(
    connection: &mut PgConnection,
    entropy: &Entropy,
    candidates: &[FileId],
) -> Result<(), ChargeError> {
    if candidates.is_empty() {
        return Ok(());
    }
    let unnamed = parts::unnamed(connection, candidates).await?;
    if unnamed.len() > AT_ONCE {
        parts::release(connection, &unnamed).await?;
        return Ok(());
    }
    end(connection, entropy, &unnamed).await
}

/// Ends some of those that were left for later; `false` when there are none.
pub(super) async fn end_released(
    connection: &mut PgConnection,
    entropy: &Entropy,
) -> Result<bool, ChargeError> {
    let released = parts::take_released(connection, AT_ONCE as i64).await?;
    let unnamed = parts::unnamed(connection, &released).await?;
    end(connection, entropy, &unnamed).await?;
    Ok(!released.is_empty())
}

async fn end(
    connection: &mut PgConnection,
    entropy: &Entropy,
    ids: &[FileId],
) -> Result<(), ChargeError> {
    for file in files::lock_parts(connection, ids).await? {
        charges::end(connection, entropy, &file, FileEnd::Deleted).await?;
        files::mark_deleted(connection, file.id).await?;
    }
    Ok(())
}
