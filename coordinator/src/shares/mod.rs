//! Shares: links to a file, or to what a key of a bucket points to. Whoever has the link reads, without an account, as long
//! as it has not ended: by its time, by the number of its downloads, by its owner, with what it leads to, or with the owner's
//! account.
//!
//! Nothing of a link is kept that would open it, but for its id under a master key, which its owner sees again. What is
//! running when a share ends is cut within a second, at every coordinator. Rejected: a link that is signed and needs no row,
//! which nobody could take back or count.

pub mod jobs;
pub mod make;
pub mod open;
pub mod tables;

use std::sync::Arc;

use credentials::share::{ShareHash, ShareId};
use jiff::Timestamp;
use kit::{Clock, Entropy};
use limits::running::Running;
use model::ids::UserId;
use model::sharing::ShareTarget;
use rules::sharing::Usage;

use crate::accounts::Accounts;
use crate::accounts::passwords::PasswordError;
use crate::database::Pool;
use crate::files::download::DownloadError;
use crate::keys::secrets::WrappedSecret;
use crate::objects::{ObjectError, Objects};

/// What shares work with.
pub struct Shares {
    pub db: Pool,
    pub accounts: Arc<Accounts>,
    pub objects: Arc<Objects>,
    pub running: Running<ShareHash>,
    pub clock: Clock,
    pub entropy: Entropy,
}

/// A share as the database has it.
#[derive(Debug, Clone)]
pub struct Share {
    pub hash: ShareHash,
    pub owner: UserId,
    pub target: ShareTarget,
    /// The name of the target's bucket, where it lies in one.
    pub bucket: Option<String>,
    pub name: String,
    pub password_hash: Option<String>,
    pub envelope: Option<Vec<u8>>,
    pub evidence: bool,
    pub request_hash: [u8; 32],
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub usage: Usage,
    /// Its time is up, or its owner is suspended or has closed the account.
    pub is_over: bool,
    id: Option<WrappedSecret>,
}

/// Why something could not be done with a share.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    #[error("there is no such share")]
    NotFound,
    #[error("what is to be shared is not there")]
    NoTarget,
    #[error("an account has at most {limit} shares")]
    TooMany { limit: u64 },
    #[error("the id is another share's")]
    IdTaken,
    #[error("the share has ended")]
    Ended,
    #[error("the share has a password")]
    PasswordRequired,
    #[error("the password is wrong")]
    WrongPassword,
    #[error("the share shows evidence, and no content")]
    NoContent,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Download(#[from] DownloadError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl Shares {
    /// Of a share that can still be opened by whoever has its link.
    pub async fn find(&self, id: &ShareId) -> Result<Share, ShareError> {
        let mut connection = self.db.acquire().await?;
        let share = tables::shares::one(&mut connection, id.hash()).await?;
        let share = share.ok_or(ShareError::NotFound)?;
        match share.is_over {
            true => Err(ShareError::Ended),
            false => Ok(share),
        }
    }
}
