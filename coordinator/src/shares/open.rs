//! Opening a share: what it leads to at this moment, and its bytes, counted and cut when it ends.

use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use credentials::share::{ShareHash, ShareId, Token, Visitor};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, future, stream};
use jiff::Timestamp;
use limits::memory::Holder;
use model::objects::ObjectPart;
use model::sharing::ShareTarget;
use proto::FileId;
use rand::RngExt;
use rules::sharing::{MOST_VISITORS, VISIT};
use zeroize::Zeroizing;

use super::{Share, ShareError, Shares, tables};
use crate::files::download::DownloadError;
use crate::files::tables::files;
use crate::objects::tables::{parts, versions};
use crate::objects::{ObjectError, get};

/// What a share leads to now.
#[derive(Debug, Clone)]
pub struct Content {
    /// Of bytes that never change.
    pub etag: String,
    pub size_bytes: u64,
    pub content_type: String,
    pub modified: Timestamp,
    pub sha256: Option<[u8; 32]>,
    parts: Vec<ObjectPart>,
}

impl Content {
    /// The file that holds all of it, if it is one.
    pub fn only_file(&self) -> Option<FileId> {
        match &self.parts[..] {
            [part] => Some(part.file_id),
            _ => None,
        }
    }
}

/// What the share leads to; [`ShareError::Ended`] where that is gone.
pub async fn content(shares: &Shares, share: &Share) -> Result<Content, ShareError> {
    let mut connection = shares.db.acquire().await?;
    match &share.target {
        ShareTarget::File(id) => {
            let file = files::by_id(&mut connection, *id, share.owner).await?;
            let file = file.ok_or(ShareError::Ended)?;
            Ok(Content {
                etag: file.id.to_string(),
                size_bytes: file.layout.size_bytes,
                content_type: file.content_type,
                modified: file.completed_at,
                sha256: file.sha256,
                parts: vec![ObjectPart {
                    number: 1,
                    file_id: file.id,
                    size_bytes: file.layout.size_bytes,
                    md5: None,
                }],
            })
        }
        ShareTarget::Object {
            bucket,
            key,
            version,
        } => {
            let version = ShareTarget::version_ref(*version);
            let found = versions::find(&mut connection, *bucket, key, version).await?;
            let now = shares.clock.now();
            let is_there = |until: Option<Timestamp>| until.is_none_or(|until| until > now);
            let found = found.filter(|found| !found.is_marker && is_there(found.expires_at));
            let found = found.ok_or(ShareError::Ended)?;
            Ok(Content {
                etag: found.id.to_string(),
                size_bytes: found.size_bytes,
                content_type: found.content_type,
                modified: found.created_at,
                sha256: None,
                parts: parts::of(&mut connection, found.id).await?,
            })
        }
    }
}

/// Lets somebody in who has told the password, or has to tell none, for a day.
pub async fn unlock(
    shares: &Shares,
    id: &ShareId,
    share: &Share,
    password: Zeroizing<String>,
    from: IpAddr,
) -> Result<(Token, String), ShareError> {
    if let Some(hash) = share.password_hash.clone() {
        let passwords = &shares.accounts.passwords;
        if !passwords.verify(password, Some(hash), from).await? {
            return Err(ShareError::WrongPassword);
        }
    }
    Ok(new_token(shares, id, share))
}

/// Somebody is there whom nobody knows.
pub fn new_token(shares: &Shares, id: &ShareId, share: &Share) -> (Token, String) {
    let token = Token {
        visitor: shares.entropy.rng().random(),
        expires_at: shares.clock.now() + VISIT,
    };
    let text = token.write(id, share.password_hash.as_deref());
    (token, text)
}

/// Who shows this, if he was let in.
pub fn known(shares: &Shares, id: &ShareId, share: &Share, shown: &str) -> Option<Token> {
    let now = shares.clock.now();
    Token::read(shown, id, share.password_hash.as_deref(), now)
}

/// Somebody who reads.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    pub token: Token,
    /// Of his address, as attempts are counted.
    pub network: [u8; 16],
    pub address: IpAddr,
}

/// Bytes of a share, in order. The first are there before this returns. What is counted and not taken is given back.
pub async fn read(
    shares: &Arc<Shares>,
    id: &ShareId,
    share: &Share,
    content: &Content,
    range: &Range<u64>,
    reader: Reader,
) -> Result<BoxStream<'static, io::Result<Bytes>>, ShareError> {
    let length = range.end - range.start;
    let visitors = [
        Visitor::Token(reader.token.visitor),
        Visitor::Network(reader.network),
    ];
    let visitors = visitors.map(|who| id.visitor(who).to_vec());
    admit(shares, share.hash, content.size_bytes, length, &visitors).await?;
    let running = shares.running.begin(share.hash);
    let mut unsent = Unsent {
        shares: Arc::clone(shares),
        share: share.hash,
        bytes: length,
    };
    let holder = Holder {
        account: share.owner,
        address: reader.address,
    };
    let bytes = get::read(&shares.objects, share.owner, &content.parts, range, holder).await;
    let bytes = bytes.map_err(|error| match error {
        ObjectError::NoSuchKey | ObjectError::Download(DownloadError::NotFound) => {
            ShareError::Ended
        }
        error => error.into(),
    })?;
    let ended = running.ended.clone();
    let has_ended = ended.clone();
    let bytes = bytes.map_err(io::Error::other).inspect_ok(move |piece| {
        let _until_it_is_dropped = &running;
        unsent.less(piece.len());
    });
    let cut = stream::once(async move {
        let cut = || Err(io::Error::other("the share has ended"));
        has_ended.is_cancelled().then(cut)
    });
    let cut = cut.filter_map(future::ready);
    Ok(bytes.take_until(ended.cancelled_owned()).chain(cut).boxed())
}

async fn admit(
    shares: &Shares,
    share: ShareHash,
    size: u64,
    length: u64,
    visitors: &[Vec<u8>],
) -> Result<(), ShareError> {
    let mut transaction = shares.db.begin().await?;
    let usage = tables::shares::lock_usage(&mut transaction, share).await?;
    let usage = usage.ok_or(ShareError::NotFound)?;
    let is_known = tables::visitors::knows(&mut transaction, share, visitors).await?;
    let admitted = usage.admit(size, length, is_known);
    let admitted = admitted.map_err(|_| ShareError::Ended)?;
    tables::shares::set_usage(&mut transaction, share, admitted).await?;
    if !is_known {
        let most = 2 * MOST_VISITORS; // by token and by address
        tables::visitors::remember(&mut transaction, share, visitors, VISIT, most).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Bytes that were counted and have not been sent.
struct Unsent {
    shares: Arc<Shares>,
    share: ShareHash,
    bytes: u64,
}

impl Unsent {
    /// Borrowed as a whole, so that a closure that calls it owns all of it.
    fn less(&mut self, sent: usize) {
        self.bytes = self.bytes.saturating_sub(sent as u64);
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.bytes == 0 {
            return;
        }
        let (shares, share, bytes) = (Arc::clone(&self.shares), self.share, self.bytes);
        runtime.spawn(async move {
            let given_back = async {
                let mut connection = shares.db.acquire().await?;
                tables::shares::give_back(&mut connection, share, bytes).await
            };
            if let Err(error) = given_back.await {
                tracing::warn!(%error, "bytes that a share did not send stay counted");
            }
        });
    }
}
