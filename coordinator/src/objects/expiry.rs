//! What is not paid for any longer, and what was begun and left: it ends, and with a file whatever it is part of.

use super::{ObjectError, Objects, ending, release, tables};
use crate::billing::charges::FileEnd;
use crate::files::renewal;
use crate::files::tables::files;

/// Ends the versions that one unpaid file belongs to, unless its owner can pay by now; `false` when there is none.
pub async fn expire_one(objects: &Objects) -> Result<bool, ObjectError> {
    let mut transaction = objects.db.begin().await?;
    let Some(unpaid) = tables::parts::one_unpaid(&mut transaction).await? else {
        return Ok(false);
    };
    let Some(pointed) = ending::lock(&mut transaction, unpaid).await? else {
        return Ok(true); // gone, or written to meanwhile: later
    };
    if !renewal::renew(&objects.files, &mut transaction, &pointed.file).await? {
        ending::end(
            &mut transaction,
            &objects.entropy,
            pointed,
            FileEnd::Expired,
        )
        .await?;
        tracing::info!(file_id = %unpaid, "an object was not paid for any longer and is deleted");
    }
    transaction.commit().await?;
    objects.files.forget_wake.wake();
    Ok(true)
}

/// Gives up one upload in parts whose time is up; `false` when there is none.
pub async fn expire_one_multipart(objects: &Objects) -> Result<bool, ObjectError> {
    let mut transaction = objects.db.begin().await?;
    let Some((id, is_completed)) = tables::multiparts::lock_one_expired(&mut transaction).await?
    else {
        return Ok(false);
    };
    let parts = tables::multiparts::files_of(&mut transaction, &[id]).await?;
    files::lock_parts(&mut transaction, &parts).await?;
    tables::multiparts::delete(&mut transaction, id).await?;
    release::end_unnamed(&mut transaction, &objects.entropy, &parts).await?;
    transaction.commit().await?;
    objects.files.forget_wake.wake();
    if !is_completed {
        tracing::info!(upload_id = %id, "an unfinished upload in parts expired");
    }
    Ok(true)
}

/// Ends files that were too many for the transaction that let them go; `false` when there are none.
pub async fn end_released(objects: &Objects) -> Result<bool, ObjectError> {
    let mut transaction = objects.db.begin().await?;
    let more = release::end_released(&mut transaction, &objects.entropy).await?;
    transaction.commit().await?;
    objects.files.forget_wake.wake();
    Ok(more)
}
