//! Clicks through all pages as a person does, in Chromium without a screen, and takes pictures of them.
//!
//! `scripts/test-pages` starts a network and `chromedriver` and tells this program where they are. Each flow is told as it
//! goes; the first thing that is not as it should be ends it, with a picture of what was to be seen.

mod browser;
mod flows;
mod looks;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::browser::Browser;

/// Where everything is.
pub(crate) struct Place {
    pub site: String,
    pub node: String,
    pub administrator: (String, String),
    pub pictures: PathBuf,
    /// Files to upload are made here.
    pub scratch: PathBuf,
}

fn told(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: run scripts/test-pages"))
}

#[tokio::main]
async fn main() -> Result<()> {
    let place = Place {
        site: told("PAGES_SITE")?,
        node: told("PAGES_NODE")?,
        administrator: (told("PAGES_ADMIN_EMAIL")?, told("PAGES_ADMIN_PASSWORD")?),
        pictures: told("PAGES_PICTURES")?.into(),
        scratch: told("PAGES_SCRATCH")?.into(),
    };
    tokio::fs::create_dir_all(&place.pictures).await?;
    let browser = Browser::start(&told("PAGES_DRIVER")?, &place).await?;
    let outcome = flows::all(&browser, &place).await;
    if outcome.is_err() {
        let _ = browser.picture("failed").await; // the flow's error says more
    }
    browser.end().await?;
    outcome
}
