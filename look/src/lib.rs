//! What all pages look like, those of a coordinator and that of a node: one frame, one stylesheet, amounts and times in
//! words, figures as SVG.
//!
//! Invariants: no page has a script or a style in its text, so that [`POLICY`] may forbid both; whatever was made by others
//! (names above all) goes through the template, which escapes it, and stands in `dir="auto"`, so that a name in Arabic turns
//! itself around and not the line that it stands in.
//! Rejected: templates in files, which would be a second language with a parser of its own in the build; a script that draws
//! pages out of JSON, for then nothing is seen until it has run, and two programs would know each page.

#![warn(unreachable_pub)]

mod figures;
mod frame;
mod words;

pub use figures::{Bar, Cell, bars, cells, meter};
pub use frame::{Entry, Frame, Tile, fact, notice, tile};
pub use words::{ago, bytes, count, credits, day, duration, moment, percent, short};

/// The stylesheet of all pages.
pub const STYLE: &str = include_str!("style.css");

/// Pages load from where they are, run scripts of this program alone, stand in no frame, and send forms nowhere else.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; \
                          connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
