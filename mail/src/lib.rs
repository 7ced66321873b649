//! Letters to the owners of accounts: what they say ([`letters`]), and how they get to a mail server ([`Mailer`]).
//!
//! Plain text only: a letter with one link that reads the same in every program. A connection is made for each letter:
//! there are few, and a server that was away has not to be noticed.

#![warn(unreachable_pub)]

mod config;
pub mod letters;
mod smtp;

pub use config::{MailConfig, MailSecurity};
pub use letters::Letter;
pub use smtp::{Mailer, SendError, Server, SettingsError, Transport};
