//! The two layouts by their names.

use std::io;
use std::path::Path;

use crate::files::FilesLayout;
use crate::layout::{Layout, LayoutKind};
use crate::segments::{SegmentOptions, Segments};

/// Opens a layout for writing, in `root`, which must exist. One writer at a time.
pub fn open_layout(
    kind: LayoutKind,
    root: &Path,
    options: SegmentOptions,
) -> io::Result<Box<dyn Layout>> {
    Ok(match kind {
        LayoutKind::Segments => Box::new(Segments::open(root, options)?),
        LayoutKind::Files => Box::new(FilesLayout::open(root)?),
    })
}

/// For reading only, beside a program that writes.
pub fn attach_layout(kind: LayoutKind, root: &Path) -> Box<dyn Layout> {
    match kind {
        LayoutKind::Segments => Box::new(Segments::attach(root)),
        LayoutKind::Files => Box::new(FilesLayout::attach(root)),
    }
}
