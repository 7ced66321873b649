//! A chunk of an open upload that comes again. What it moves to nodes a second time is charged and bounded; the same
//! content moves nothing.

use crate::bookkeeping::chart::transfer_kind;
use crate::bookkeeping::{chart, posting};
use ledger::Movement;
use proto::MicroCredits;
use serde_json::json;
use sqlx::PgConnection;

use crate::blobs;
use crate::blobs::crypto_pool::TaskLost;
use crate::files::upload::UploadError;
use crate::files::{Files, tables};
use model::file::UploadingFile;
use model::upload::{Upload, UploadState};
use rules::resend::{self, Resend, Standing};

/// What is done with a chunk.
#[derive(Debug)]
pub(super) enum Sent {
    First,
    /// It stands with this content already.
    Acknowledged {
        sha256: [u8; 32],
    },
    Again(Again),
}

/// A chunk that goes to nodes once more.
#[derive(Debug)]
pub(super) struct Again {
    /// The new one has to be higher.
    pub version_before: u64,
    charge: Option<Charge>,
}

#[derive(Debug)]
struct Charge {
    number: u32,
    cost: MicroCredits,
}

/// Whether a chunk is there already; counts and charges it if so and the content is another one. The caller has the
/// turn of the chunk.
pub(super) async fn admit(
    files: &Files,
    upload: &Upload,
    file: &UploadingFile,
    index: u32,
    sha256: impl Future<Output = Result<[u8; 32], TaskLost>>,
) -> Result<Sent, UploadError> {
    let mut connection = files.db.acquire().await?;
    let before =
        blobs::tables::chunks::standing(&mut connection, file.id, index, file.scheme).await?;
    drop(connection);
    let Some(before) = before else {
        return Ok(Sent::First);
    };
    let sha256 = sha256.await?;
    let standing = match before.is_whole {
        false => Standing::Incomplete,
        true if before.sha256 == Some(sha256) => Standing::Same,
        true => Standing::Other,
    };
    match standing.resend() {
        Resend::Acknowledge => Ok(Sent::Acknowledged { sha256 }),
        Resend::Store { charged } => {
            let cost = match charged {
                true => resend::price(
                    files.billing.money.price_per_gb_month,
                    before.size_bytes,
                    file.scheme,
                )?,
                false => MicroCredits::ZERO,
            };
            let charge = charge(files, upload, file, index, cost).await?;
            Ok(Sent::Again(Again {
                version_before: before.version,
                charge: charged.then_some(charge),
            }))
        }
    }
}

/// Counts one more, and takes what it costs of what the owner has: before nodes are put to work, so that nobody has
/// them work for nothing.
async fn charge(
    files: &Files,
    upload: &Upload,
    file: &UploadingFile,
    index: u32,
    cost: MicroCredits,
) -> Result<Charge, UploadError> {
    let mut transaction = files.db.begin().await?;
    let number = count(&mut transaction, upload, file).await?;
    let movement = Movement {
        kind: transfer_kind::RESEND,
        key: format!("resend:{}:{number}", upload.id),
        cause: &json!({"upload_id": upload.id, "index": index}),
        entries: &[
            (chart::available(upload.user_id), -cost),
            (chart::INCOME, cost),
        ],
    };
    posting::post(&mut transaction, &files.entropy, movement).await?;
    transaction.commit().await?;
    Ok(Charge { number, cost })
}

/// Counts a request once whose chunks are about to be taken away again, however many they are: nodes have had them for
/// nothing. What comes in their place is not charged.
pub(super) async fn count_failed(
    files: &Files,
    upload: &Upload,
    file: &UploadingFile,
) -> Result<(), UploadError> {
    let mut transaction = files.db.begin().await?;
    count(&mut transaction, upload, file).await?;
    transaction.commit().await?;
    Ok(())
}

/// Locks the session and counts one more, unless there were too many; its number.
async fn count(
    connection: &mut PgConnection,
    upload: &Upload,
    file: &UploadingFile,
) -> Result<u32, UploadError> {
    let upload = tables::uploads::lock(connection, upload.id, upload.user_id)
        .await?
        .ok_or(UploadError::NotFound)?;
    if upload.state != UploadState::Open {
        return Err(UploadError::Closed);
    }
    let chunk_count = file.layout().map_or(0, |layout| layout.chunk_count());
    let limit = resend::most_resends(chunk_count);
    if u64::from(upload.resent_chunks) >= limit {
        return Err(UploadError::TooManyResends { limit });
    }
    tables::uploads::count_resend(connection, upload.id).await?;
    Ok(upload.resent_chunks + 1)
}

impl Again {
    /// The network could not store it: what it has cost comes back. It stays counted.
    pub(super) async fn give_back(self, files: &Files, upload: &Upload) -> Result<(), UploadError> {
        let Some(Charge { number, cost }) = self.charge else {
            return Ok(());
        };
        let mut transaction = files.db.begin().await?;
        let movement = Movement {
            kind: transfer_kind::RESEND_RETURNED,
            key: format!("resend_returned:{}:{number}", upload.id),
            cause: &json!({"upload_id": upload.id}),
            entries: &[
                (chart::INCOME, -cost),
                (chart::available(upload.user_id), cost),
            ],
        };
        posting::post(&mut transaction, &files.entropy, movement).await?;
        transaction.commit().await?;
        Ok(())
    }
}
