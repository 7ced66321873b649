//! The pages that a coordinator serves to browsers: the [`viewer`] of its API, the pages of an [`account`] that links in
//! letters lead to, and that of a [`share`]. Each runs scripts of this program alone, loads nothing from elsewhere, and says so to the browser.

#![warn(unreachable_pub)]

pub mod account;
pub mod share;
pub mod viewer;
