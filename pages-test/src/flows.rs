//! What a person does: as a visitor, as a new user, as an operator, as an administrator.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use credentials::totp::Secret;
use data_encoding::BASE32_NOPAD;
use serde_json::json;
use zeroize::Zeroizing;

use crate::Place;
use crate::browser::Browser;
use crate::looks::{keyboard, look};

const PASSWORD: &str = "violet anchor 72 cloud";
const EMAIL: &str = "new-user@example.com";

/// Of several chunks, and sent slowly enough to be paused in the middle.
const LARGE: usize = 20_000_000;

macro_rules! flow {
    ($name:literal, $flow:expr) => {
        eprintln!("  {}", $name);
        $flow.await.context($name)?;
    };
}

pub(crate) async fn all(browser: &Browser, place: &Place) -> Result<()> {
    flow!("a visitor sees how the network does", visitor(browser));
    flow!("somebody signs up, and buys credits", sign_up(browser));
    flow!("files are uploaded", upload(browser, place));
    flow!(
        "an upload survives a pause, a lost connection and a reload",
        interrupted(browser, place)
    );
    flow!("a file is looked at, and proven now", file(browser));
    flow!("a list goes on as it is scrolled", scroll(browser));
    flow!("a key is made and revoked", keys(browser));
    flow!(
        "a second factor is set up, and asked for",
        second_factor(browser)
    );
    flow!("an account is closed", leave(browser));
    flow!(
        "an administrator looks at the background work",
        administrator(browser, place)
    );
    flow!("an operator looks at the node", operator(browser, place));
    Ok(())
}

async fn visitor(browser: &Browser) -> Result<()> {
    browser.width(false).await?;
    browser.open("/").await?;
    browser.see("The network now").await?;
    ensure!(
        browser.count(".cells circle").await? >= 5,
        "five nodes are drawn"
    );
    look(browser, "network").await?;
    keyboard(browser, 8).await?;
    // It goes on by itself, and says when it cannot.
    let marked = "document.querySelector('.tiles').dataset.old = '1'";
    browser.run(marked, Vec::new()).await?;
    browser
        .until(
            "return !document.querySelector('.tiles').dataset.old",
            Vec::new(),
        )
        .await?;
    browser.offline(true).await?;
    browser.see("no answer").await?;
    browser.offline(false).await?;
    browser
        .until(
            "return document.getElementById('pulse-text').textContent.startsWith('as of')",
            Vec::new(),
        )
        .await?;
    browser.complaints().await?;
    browser.open("/nodes").await?;
    look(browser, "nodes").await?;
    browser.click("tbody a").await?;
    browser.see("History").await?;
    look(browser, "node").await?;
    browser.open("/files").await?;
    ensure!(browser.path().await? == "/sign-in", "nobody sees files");
    look(browser, "sign-in").await?;
    browser.open("/forgotten").await?;
    look(browser, "forgotten").await?;
    for page in ["/reset-password#token", "/verify-address#token"] {
        browser.open(page).await?;
        browser.find("form:not([hidden])").await?;
    }
    look(browser, "letter").await
}

async fn sign_up(browser: &Browser) -> Result<()> {
    browser.open("/sign-up").await?;
    look(browser, "sign-up").await?;
    browser.type_in("#email", EMAIL).await?;
    browser.type_in("#password", PASSWORD).await?;
    browser.follow("main button", "/overview").await?;
    let readable = browser.run("return document.cookie", Vec::new()).await?;
    ensure!(
        readable == json!(""),
        "a script reads the cookie: {readable}"
    );
    browser.click("form[action='/overview/buy'] button").await?;
    browser.see("The credits are on your account.").await?;
    look(browser, "overview").await
}

fn made(place: &Path, name: &str, content: &[u8]) -> Result<PathBuf> {
    let path = place.join(name);
    std::fs::write(&path, content)?;
    Ok(path)
}

/// Bytes that do not repeat.
fn bytes(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A picture of one red dot.
const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg==";

async fn upload(browser: &Browser, place: &Place) -> Result<()> {
    use base64::Engine;
    let picture = base64::prelude::BASE64_STANDARD.decode(PICTURE)?;
    let files = [
        made(&place.scratch, "تقرير نهائي 2026.txt", "مرحبا".as_bytes())?,
        made(
            &place.scratch,
            "<b>not bold</b>.html",
            b"<script>alert(1)</script>",
        )?,
        made(&place.scratch, "photo.png", &picture)?,
        made(&place.scratch, "empty", b"")?,
    ];
    browser.open("/files").await?;
    look(browser, "files-none").await?;
    browser.choose_files("#picker", &files).await?;
    browser.see("4 stored").await?;
    browser
        .until(
            "return document.querySelectorAll('#rows tr').length === 4",
            Vec::new(),
        )
        .await?;
    look(browser, "files").await
}

async fn interrupted(browser: &Browser, place: &Place) -> Result<()> {
    let content = bytes(LARGE);
    let file = made(&place.scratch, "film.mkv", &content)?;
    let chosen = [file];
    let has_sent = "return document.querySelector('#uploads progress').value > 1000000";
    browser.open("/files").await?;
    browser.slow(4_000_000).await?;
    browser.choose_files("#picker", &chosen).await?;
    browser.until(has_sent, Vec::new()).await?;
    browser.click("#pause").await?;
    browser.see("Paused").await?;
    look(browser, "upload").await?;
    browser.click("#pause").await?;
    browser.offline(true).await?;
    browser.see("No connection: trying again").await?;
    browser.complaints().await?;
    browser.slow(4_000_000).await?;
    browser.until(has_sent, Vec::new()).await?;
    browser.reload().await?;
    browser.see("Not complete yet: “film.mkv”").await?;
    browser.offline(false).await?;
    browser.choose_files("#picker", &chosen).await?;
    browser.see("1 stored").await?;
    browser.open("/files?prefix=film").await?;
    browser.click("#rows a").await?;
    browser.see("What it is").await?;
    // What comes back is what was sent.
    let script = "const done = arguments[arguments.length - 1];
        fetch(document.querySelector('a[download]').href).then((answer) => answer.arrayBuffer())
          .then((content) => crypto.subtle.digest('SHA-256', content))
          .then((digest) => done(Array.from(new Uint8Array(digest))), (error) => done(String(error)))";
    let came = browser.run_async(script, Vec::new()).await?;
    let sent = "const done = arguments[arguments.length - 1]; const length = arguments[0];
        const content = new Uint8Array(length); let state = 1n;
        for (let at = 0; at < length; at += 1) {
          state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn;
          content[at] = Number(state >> 56n);
        }
        crypto.subtle.digest('SHA-256', content).then((digest) => done(Array.from(new Uint8Array(digest))))";
    let sent = browser.run_async(sent, vec![json!(LARGE)]).await?;
    ensure!(came == sent, "another file came back: {came}");
    browser.expect_no_complaints().await
}

async fn file(browser: &Browser) -> Result<()> {
    browser.click("form[action$='/prove'] button").await?;
    browser.see("proved just now that they are there").await?;
    look(browser, "file").await?;
    browser.open("/files?prefix=photo").await?;
    browser.click("#rows a").await?;
    let drawn = "return document.querySelector('img.preview')?.naturalWidth === 1";
    browser.until(drawn, Vec::new()).await?;
    browser.click("details summary").await?;
    browser.click("form[action$='/delete'] button").await?;
    browser.see("The file is deleted").await
}

/// 10,000 rows: the list is given pages by the test, for that many files would take an hour to store.
async fn scroll(browser: &Browser) -> Result<()> {
    browser.open("/files").await?;
    let script = "const done = arguments[arguments.length - 1];
        const rows = document.getElementById('rows'); const row = rows.firstElementChild;
        const copies = Array.from({ length: 10000 }, () => row.cloneNode(true));
        const began = performance.now(); rows.append(...copies); rows.lastElementChild.scrollIntoView();
        requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)))";
    let took = browser.run_async(script, Vec::new()).await?;
    eprintln!("    10,000 rows are there after {took} ms");
    Ok(())
}

async fn keys(browser: &Browser) -> Result<()> {
    browser.open("/keys").await?;
    browser.type_in("#name", "backup of the laptop").await?;
    browser.click("form[action='/keys'] button").await?;
    browser.see("Copy the secret now").await?;
    look(browser, "key-made").await?;
    browser.follow("main a.button", "/keys").await?;
    look(browser, "keys").await?;
    browser.click("form[action$='/revoke'] button").await?;
    browser.see("The key is revoked").await?;
    browser.see("There are none").await
}

async fn second_factor(browser: &Browser) -> Result<()> {
    browser.open("/security").await?;
    look(browser, "security").await?;
    browser.type_in("#app-password", PASSWORD).await?;
    browser.click("form[action='/security/app'] button").await?;
    browser.see("Scan this").await?;
    look(browser, "second-factor").await?;
    let secret = browser.text("main .card > p code").await?;
    let secret = BASE32_NOPAD.decode(secret.trim().as_bytes())?;
    let secret = Secret::from_bytes(Zeroizing::new(secret));
    let code = |later: i64| -> Result<String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(secret.code_at(i64::try_from(now.as_secs())? + later))
    };
    browser.type_in("#code", &code(0)?).await?;
    browser
        .click("form[action='/security/app/confirm'] button")
        .await?;
    browser.see("Note them down").await?;
    look(browser, "recovery-codes").await?;
    browser.follow("main a.button", "/security").await?;
    browser
        .follow("form[action='/sign-out'] button", "/sign-in")
        .await?;
    browser.see("You are signed out").await?;
    browser.type_in("#email", EMAIL).await?;
    browser.type_in("#password", PASSWORD).await?;
    browser.follow("main button", "/sign-in").await?;
    browser.see("Six digits").await?;
    look(browser, "code").await?;
    // A code is good once: the next one is taken, which the clock's leeway allows.
    browser.type_in("#code", &code(30)?).await?;
    browser.follow("main button", "/overview").await?;
    browser.open("/security/log").await?;
    look(browser, "log").await
}

async fn leave(browser: &Browser) -> Result<()> {
    browser.open("/leave").await?;
    look(browser, "leave").await?;
    browser.type_in("#password", PASSWORD).await?;
    browser.follow("main form button", "/sign-in").await?;
    browser.see("Your account is closed").await
}

async fn administrator(browser: &Browser, place: &Place) -> Result<()> {
    let (email, password) = &place.administrator;
    browser.open("/sign-in?next=%2Fadmin").await?;
    browser.type_in("#email", email).await?;
    browser.type_in("#password", password).await?;
    browser.follow("main button", "/admin").await?;
    browser.see("Background work").await?;
    look(browser, "admin").await
}

async fn operator(browser: &Browser, place: &Place) -> Result<()> {
    browser.open(&format!("{}/", place.node)).await?;
    browser.see("Leaving the network").await?;
    look(browser, "operator").await?;
    browser
        .click("section[aria-labelledby=leaving] summary")
        .await?;
    browser.type_in("#token", "a guess").await?;
    browser.click("form[action='/leave'] button").await?;
    browser.see("That is not the token").await
}
