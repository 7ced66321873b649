//! How a store that is measured lays its blobs out: `--layout`.

use blobstore::LayoutKind;
use clap::ValueEnum;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Segments,
    Files,
}

impl From<Kind> for LayoutKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Segments => Self::Segments,
            Kind::Files => Self::Files,
        }
    }
}
