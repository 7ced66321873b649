//! A file that comes in one piece: one body of one chunk at most. It is stored first and then
//! acknowledged in one transaction, which it shares with others that wait at the same time. No
//! session is opened, as there is nothing to resume: a body that breaks off leaves nothing, and a
//! coordinator that dies in between leaves blobs that no row names, which reconciling finds.

use std::sync::Arc;

use proto::FileId;

use super::body::ChunkBody;
use super::chunk::{FileKey, store_chunk};
use super::session::UploadRequest;
use super::whole_commit::WholeFile;
use super::{UploadError, put, session};
use crate::app::App;
use crate::clock;
use crate::db;
use crate::db::chunks::StoredChunk;
use crate::db::files::File;
use crate::domain::allowance::Refusal;
use crate::domain::ids::{UploadId, uuid_v7};
use crate::domain::sealing::{ChunkRef, DataKey, Place};
use proto::MicroCredits;

pub async fn upload(
    app: &App,
    request: &UploadRequest,
    body: ChunkBody,
) -> Result<File, UploadError> {
    if let Some(file) = session::completed_before(app, request).await? {
        return Ok(file);
    }
    let replication = app.config.placement.replicas;
    let size_bytes = body.len() as u64;
    let price = app.config.money.price_per_gb_month;
    let cost = price.first_month(size_bytes, replication)?;
    check_allowance(app, request, cost).await?;

    let (now, mut rng) = (clock::now(), clock::sendable_rng());
    let file_id = FileId::from_uuid(uuid_v7(now, &mut rng));
    let master = app.keys.master();
    let data_key = DataKey::generate(&mut rng)?;
    let wrapped_key = master.wrap(file_id, &data_key, &mut rng)?;
    let key = Arc::new(FileKey {
        data_key: Arc::new(data_key),
        replication,
    });
    let (chunk, in_vain) = store(app, &key, file_id, body).await?;
    let file = WholeFile {
        id: file_id,
        upload_id: UploadId::from_uuid(uuid_v7(now, &mut rng)),
        request: request.clone(),
        size_bytes,
        chunk_size: app.config.uploads.chunk_size.as_u64() as u32,
        replication,
        master_key_id: master.id().to_owned(),
        wrapped_key: wrapped_key.to_vec(),
        cost,
        chunk,
        in_vain,
    };
    app.whole_files.commit(file).await
}

/// Before nodes are put to work; what is decided here is decided again under a lock.
async fn check_allowance(
    app: &App,
    request: &UploadRequest,
    cost: MicroCredits,
) -> Result<(), UploadError> {
    let mut connection = app.db.acquire().await?;
    let limits = app.whole_files.limits();
    let mut allowance = db::whole_files::allowance(&mut connection, request.user_id, &limits)
        .await?
        .ok_or(UploadError::NotFound)?;
    match allowance.spend(cost) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(refused(refusal, cost, limits.files)),
    }
}

pub(super) fn refused(refusal: Refusal, cost: MicroCredits, limit: u64) -> UploadError {
    match refusal {
        Refusal::TooManyFiles => UploadError::TooManyFiles { limit },
        Refusal::TooLittleCredit { available } => UploadError::PaymentRequired { cost, available },
    }
}

async fn store(
    app: &App,
    key: &Arc<FileKey>,
    file_id: FileId,
    body: ChunkBody,
) -> Result<(Option<StoredChunk>, super::InVain), UploadError> {
    if body.is_empty() {
        return Ok((None, Vec::new()));
    }
    let chunk = ChunkRef { file_id, index: 0 };
    let place = Place {
        chunk,
        version: app.versions.next(),
    };
    let size_bytes = body.len() as u32;
    match store_chunk(app, key, place, body).await {
        Ok(receipts) => {
            let stored = StoredChunk {
                file_id,
                index: 0,
                version: place.version,
                size_bytes,
                sha256: None,
                replicas: receipts.replicas,
            };
            Ok((Some(stored), receipts.in_vain))
        }
        Err((error, in_vain)) => {
            put::purge_in_vain(app, &in_vain).await;
            Err(error.into())
        }
    }
}
