//! One browser: what a person does with it, and what its own protocol does besides.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fantoccini::elements::Element;
use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use url::{ParseError, Url};

use crate::Place;

/// Nothing that is waited for takes longer, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Browser {
    client: Client,
    site: String,
    pictures: PathBuf,
}

/// A command of the browser's own protocol.
#[derive(Debug)]
struct Cdp {
    name: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for Cdp {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!(
            "session/{}/goog/cdp/execute",
            session.unwrap_or_default()
        ))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        let body = json!({"cmd": self.name, "params": self.parameters});
        (http::Method::POST, Some(body.to_string()))
    }
}

impl Browser {
    pub(crate) async fn start(driver: &str, place: &Place) -> Result<Self> {
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1280,900",
        ];
        let mut capabilities = Capabilities::new();
        capabilities.insert("goog:chromeOptions".to_owned(), json!({"args": arguments}));
        capabilities.insert("goog:loggingPrefs".to_owned(), json!({"browser": "ALL"}));
        // A page that asks whether it may be left is left.
        capabilities.insert("unhandledPromptBehavior".to_owned(), json!("accept"));
        let mut builder = ClientBuilder::new(hyper_connector());
        let client = builder.capabilities(capabilities).connect(driver).await;
        Ok(Self {
            client: client.context("the browser does not start")?,
            site: place.site.clone(),
            pictures: place.pictures.clone(),
        })
    }

    pub(crate) async fn end(&self) -> Result<()> {
        Ok(self.client.clone().close().await?)
    }

    pub(crate) async fn cdp(&self, name: &'static str, parameters: Value) -> Result<Value> {
        let done = self.client.issue_cmd(Cdp { name, parameters }).await;
        done.with_context(|| format!("{name} failed"))
    }

    /// A path of the site, or a whole address.
    pub(crate) async fn open(&self, path: &str) -> Result<()> {
        let address = match path.starts_with('/') {
            true => format!("{}{path}", self.site),
            false => path.to_owned(),
        };
        Ok(self.client.goto(&address).await?)
    }

    pub(crate) async fn reload(&self) -> Result<()> {
        Ok(self.client.refresh().await?)
    }

    pub(crate) async fn path(&self) -> Result<String> {
        Ok(self.client.current_url().await?.path().to_owned())
    }

    pub(crate) async fn find(&self, css: &str) -> Result<Element> {
        let waiting = self.client.wait().at_most(PATIENCE);
        let found = waiting.for_element(Locator::Css(css)).await;
        found.with_context(|| format!("there is no {css}"))
    }

    pub(crate) async fn count(&self, css: &str) -> Result<usize> {
        Ok(self.client.find_all(Locator::Css(css)).await?.len())
    }

    pub(crate) async fn text(&self, css: &str) -> Result<String> {
        Ok(self.find(css).await?.text().await?)
    }

    pub(crate) async fn click(&self, css: &str) -> Result<()> {
        let element = self.find(css).await?;
        element
            .click()
            .await
            .with_context(|| format!("{css} cannot be clicked"))
    }

    /// Clicks what leads to another page, and waits for it.
    pub(crate) async fn follow(&self, css: &str, path: &str) -> Result<()> {
        self.click(css).await?;
        let mut now = String::new();
        for _ in 0..600 {
            now = self.path().await?;
            if now == path {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("{css} led to {now} and not to {path}")
    }

    pub(crate) async fn type_in(&self, css: &str, text: &str) -> Result<()> {
        let field = self.find(css).await?;
        field.clear().await?;
        Ok(field.send_keys(text).await?)
    }

    pub(crate) async fn choose_files(&self, css: &str, files: &[PathBuf]) -> Result<()> {
        let files: Vec<_> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        Ok(self.find(css).await?.send_keys(&files.join("\n")).await?)
    }

    /// Waits until the page says so.
    pub(crate) async fn see(&self, text: &str) -> Result<()> {
        let script = "return document.body.innerText.includes(arguments[0])";
        self.until(script, vec![json!(text)])
            .await
            .with_context(|| format!("the page does not say “{text}”"))
    }

    /// Waits until a script answers with what is true.
    pub(crate) async fn until(&self, script: &str, arguments: Vec<Value>) -> Result<()> {
        let began = tokio::time::Instant::now();
        while began.elapsed() < PATIENCE {
            // A page that is just being left answers nothing.
            let answer = self.client.execute(script, arguments.clone()).await;
            if answer.is_ok_and(|answer| answer.as_bool() == Some(true)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("it does not come to: {script}")
    }

    pub(crate) async fn run(&self, script: &str, arguments: Vec<Value>) -> Result<Value> {
        Ok(self.client.execute(script, arguments).await?)
    }

    /// A script that calls its last argument when it is done.
    pub(crate) async fn run_async(&self, script: &str, arguments: Vec<Value>) -> Result<Value> {
        Ok(self.client.execute_async(script, arguments).await?)
    }

    pub(crate) async fn width(&self, narrow: bool) -> Result<()> {
        let metrics = match narrow {
            true => json!({"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": false}),
            false => json!({"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": false}),
        };
        self.cdp("Emulation.setDeviceMetricsOverride", metrics)
            .await?;
        Ok(())
    }

    pub(crate) async fn night(&self, dark: bool) -> Result<()> {
        let value = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.cdp("Emulation.setEmulatedMedia", features).await?;
        Ok(())
    }

    pub(crate) async fn offline(&self, offline: bool) -> Result<()> {
        let conditions = json!({"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
        self.cdp("Network.enable", json!({})).await?;
        self.cdp("Network.emulateNetworkConditions", conditions)
            .await?;
        Ok(())
    }

    /// Slow enough that a person can press a button in time.
    pub(crate) async fn slow(&self, bytes_per_second: i64) -> Result<()> {
        let conditions = json!({"offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_second});
        self.cdp("Network.enable", json!({})).await?;
        self.cdp("Network.emulateNetworkConditions", conditions)
            .await?;
        Ok(())
    }

    /// The whole page, as it is.
    pub(crate) async fn picture(&self, name: &str) -> Result<()> {
        let options = json!({"format": "png", "captureBeyondViewport": true});
        let shot = self.cdp("Page.captureScreenshot", options).await?;
        let data = shot["data"].as_str().context("a picture without data")?;
        let path = self.pictures.join(format!("{name}.png"));
        tokio::fs::write(&path, BASE64_STANDARD.decode(data)?).await?;
        Ok(())
    }

    /// What the browser complained about since it was asked last: a page that breaks its own policy is among it.
    pub(crate) async fn complaints(&self) -> Result<Vec<String>> {
        #[derive(Debug)]
        struct Log;
        impl WebDriverCompatibleCommand for Log {
            fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
                base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
            }

            fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
                (http::Method::POST, Some(r#"{"type":"browser"}"#.to_owned()))
            }
        }
        let log = self.client.issue_cmd(Log).await?;
        let entries = log.as_array().context("no log")?;
        let texts = entries.iter().filter_map(|entry| entry["message"].as_str());
        Ok(texts.map(str::to_owned).collect())
    }

    pub(crate) async fn expect_no_complaints(&self) -> Result<()> {
        let complaints = self.complaints().await?;
        // Answers that are errors on purpose are told, too, and advice about forms ([DOM]).
        let bad: Vec<_> = complaints
            .iter()
            .filter(|text| !text.contains("Failed to load resource") && !text.contains("[DOM]"))
            .collect();
        ensure!(bad.is_empty(), "the browser complains: {bad:?}");
        Ok(())
    }
}

/// Plain HTTP: the driver is on this machine.
fn hyper_connector() -> hyper_util::client::legacy::connect::HttpConnector {
    hyper_util::client::legacy::connect::HttpConnector::new()
}

impl Browser {
    pub(crate) async fn press_tab(&self) -> Result<()> {
        for kind in ["rawKeyDown", "keyUp"] {
            let key =
                json!({"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9});
            self.cdp("Input.dispatchKeyEvent", key).await?;
        }
        Ok(())
    }
}
