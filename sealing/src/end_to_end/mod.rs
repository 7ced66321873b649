//! What a user seals before a coordinator sees it, and nobody but him opens: content, names, and what is kept beside them.
//!
//! - A [`FileKey`], random for each file, seals its content: [`ContentSealer`], [`ContentOpener`], [`SegmentOpener`].
//! - [`Root`] is all that a user has to keep: 32 bytes, written down as 24 words. From it come his account's key and a
//!   [`DirectoryKey`] for each bucket, from which come those of the directories in it.
//! - A [`DirectoryKey`] seals the names in its directory, which stay sortable into directories, and the [`Envelope`] of each
//!   file: its key and what is known of it.
//! - A [`ShareSecret`] seals what a link shows ([`Shared`]). It stands behind the `#` of the link and reaches no server.
//!
//! # Formats
//!
//! Keys are derived by HKDF-SHA256, without salt unless one is named:
//!
//! | key | of | info |
//! |---|---|---|
//! | account, Ed25519 seed | root | `fsn v1 account ed25519` |
//! | sharing, X25519 | root | `fsn v1 share x25519` |
//! | a bucket's topmost directory | root, salt = bucket id\[16\] | `fsn v1 vault` |
//! | a directory in a directory | the other's key | `fsn v1 dir` ‖ its name |
//! | names in a directory, 64 bytes | the directory's | `fsn v1 names` |
//! | envelopes in a directory | the directory's | `fsn v1 envelope` |
//! | what a link shows | secret\[16\], salt = share id\[16\] | `fsn v1 share` |
//!
//! | | form |
//! |---|---|
//! | name | split at `/`, empty components kept; each component ‖ 80 ‖ 00… up to a multiple of 16; AES-256-SIV under the names' key of its directory, without additional data; base64url without padding |
//! | envelope | 01 ‖ nonce\[12\] ‖ AES-256-GCM(JSON) ‖ tag\[16\], AAD = `fsn v1 envelope` ‖ bucket id\[16\] ‖ sealed name |
//! | shared | 01 ‖ nonce\[12\] ‖ AES-256-GCM(JSON) ‖ tag\[16\], AAD = `fsn v1 share` ‖ share id\[16\] |
//!
//! JSON has its members in alphabetical order and no spaces, and bytes in base64url. Content: see [`content`].
//! `sealing/vectors/end_to_end.json` has cases of each from a second implementation, `end_to_end.py` beside it.
//!
//! What a coordinator learns all the same: sizes, times, how deep directories are, which names in one directory are the
//! same, and how long each is up to 16 bytes. It can show an older version of a file in place of a newer one.

pub mod content;
mod envelope;
mod names;
mod root;
mod share;

pub use self::content::{ContentOpener, ContentSealer, FileKey, SegmentOpener};
pub use self::envelope::{Commitments, Envelope};
pub use self::names::{DirectoryKey, MAX_SEALED_NAME};
pub use self::root::{NotAPhrase, Root};
pub use self::share::{ShareId, ShareSecret, Shared};
