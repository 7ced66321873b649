//! A store of blobs in one directory: durable, bounded by a quota, checked by a scrub.
//!
//! A blob is 1 byte to 10 MiB, named by its BLAKE3 hash. [`Store::put`] returns when the blob survives a
//! power failure, [`Store::get`] serves only bytes that still hash to their name, and what is thrown away
//! can be brought back until its retention has passed. With a [`Brake`] only so much is removed in a day,
//! whoever orders it; the rest goes to the trash first. The crate knows no network and no settings: a storage
//! node keeps its replicas in one store, and any other program can have a second one. It is told the time by
//! the [`kit::Clock`] that it is given, and uses no randomness.
//!
//! ```
//! use blobstore::{LayoutKind, Read, Store, StoreOptions};
//! use proto::{BlobId, Deletion, DeletionMode, DeletionOutcome, Locator};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let options = StoreOptions::new(LayoutKind::Segments, 1_000_000_000); // bytes on disk
//! let store = Store::open(dir.path(), options, kit::Clock::system())?;
//!
//! let data = bytes::Bytes::from_static(b"a sealed chunk");
//! let id = BlobId::of(&data);
//! let locator = Locator::from_bytes([0; Locator::LEN]); // whose blob it is; opaque to the store
//! store.put(id, locator, data.clone()).await?;
//! assert_eq!(store.get(id).await, Read::Found(data));
//!
//! let purge = Deletion { blob_id: id, mode: DeletionMode::Purge };
//! assert_eq!(store.delete(vec![purge]).await, [DeletionOutcome::Done]);
//! assert_eq!(store.get(id).await, Read::Missing);
//! store.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # How it is built
//!
//! ```text
//! data directory
//!   catalogue.db    SQLite: the index over the blobs, made anew from the disk when it is gone
//!   segments/       or blobs/ and trash/: the bytes, in one of two layouts
//! ```
//!
//! | type | what for |
//! |---|---|
//! | [`Store`] | the face: put, get, delete, inventory, space; also its upkeep ([`Store::collect_trash`], [`Store::keep_compact`]) |
//! | [`Scrubber`] | reads every blob within a period, to find rot before somebody asks for the blob |
//! | [`Layout`] | how bytes lie on disk: [`Segments`] (the default) or [`FilesLayout`], one file for each blob |
//! | [`Catalogue`], [`Readers`] | the index: one writer, many readers, also beside a store that runs |
//! | [`verify`], [`convert`], [`measure`] | what an operator does with a store that is closed, or looks at from outside |
//!
//! Arrows between the modules point down only: `store`, `verify` and `convert` → `layouts` → `segments`,
//! `files` → `layout` → `catalogue`, `disk` → `blob`.

#![warn(unreachable_pub)]

mod blob;
mod catalogue;
mod convert;
mod disk;
mod files;
mod layout;
mod layouts;
mod segments;
mod store;
mod verify;

pub use blob::{
    Address, Area, BadLabel, BlobState, Counts, Deferred, Label, Location, MAX_BLOB_LEN, NewBlob,
    Prefix, Row, Tally,
};
pub use catalogue::{Catalogue, CatalogueError, Changes, Readers, SegmentRow};
pub use convert::{ConvertError, Converted, convert};
pub use disk::disk_space;
pub use files::{FilesLayout, TRAILER_LEN};
pub use layout::{
    BlobReader, Content, Destination, Entry, Found, Layout, LayoutKind, Part, ReconcileError,
    Reconciled, Recovery, Removed, UnknownLayout,
};
pub use layouts::{attach_layout, open_layout};
pub use segments::{SegmentOptions, Segments};
pub use store::{
    Brake, DISK_RESERVE, Full, OpenError, PutError, Read, ScrubStatus, Scrubber, Space, Store,
    StoreOptions, catalogue_path,
};
pub use verify::{Finding, Problem, measure, verify};
