//! Settings in layers: flag > environment > file > default.
//!
//! A program describes its settings once, as a type that derives [`confique::Config`] with a table for each
//! concern; everything here walks that description, so that no setting can be forgotten. Messages are one
//! line and name file, line and setting. What the values may be, the program checks. Rejected: serializing
//! the parsed settings to show them, which needs a second list and cannot tell where a value came from.
//!
//! ```
//! use kit::config::{Sources, overrides};
//!
//! #[derive(confique::Config)]
//! #[config(layer_attr(serde(deny_unknown_fields)))]
//! struct Config {
//!     #[config(nested)]
//!     http: Http,
//! }
//!
//! /// The API.
//! #[derive(confique::Config)]
//! #[config(layer_attr(serde(deny_unknown_fields)))]
//! struct Http {
//!     /// Where it listens.
//!     #[config(default = "127.0.0.1:8080", env = "FSN_DOC_HTTP_LISTEN")]
//!     listen: std::net::SocketAddr,
//! }
//!
//! # fn main() -> anyhow::Result<()> {
//! let sources = Sources::new(overrides(&["http.listen=0.0.0.0:80".to_owned()])?);
//! let config: Config = sources.load()?;
//! assert_eq!(config.http.listen.port(), 80);
//! assert!(sources.show::<Config>()?.contains("listen = \"0.0.0.0:80\"  # --set"));
//! # Ok(())
//! # }
//! ```

mod environment;
#[cfg(feature = "logging")]
mod reload;
mod secret;
mod show;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use confique::meta::FieldKind;
use confique::toml::FormatOptions;
use confique::{Config, Layer};
use serde::Deserialize;
use toml::{Table, Value};

pub use environment::{unknown_variables, variable};
#[cfg(feature = "logging")]
pub use reload::Reloader;
pub use secret::read_secret;

/// Where a program's settings come from, beside the environment and the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    flags: Table,
    file: Option<(PathBuf, String)>,
}

impl Sources {
    /// `flags` are a table of tables, like those of [`overrides`].
    pub fn new(flags: Table) -> Self {
        Self { flags, file: None }
    }

    /// A settings file that has to be there.
    pub fn with_file(mut self, path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        self.file = Some((path.to_owned(), text));
        Ok(self)
    }

    /// A settings file that is not missed when it is not there.
    pub fn with_file_if_there(self, path: &Path) -> Result<Self> {
        match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(self),
            _ => self.with_file(path),
        }
    }

    /// The settings that hold. Unknown ones are refused where the type says `deny_unknown_fields`.
    pub fn load<C: Config>(&self) -> Result<C> {
        let flags = C::Layer::deserialize(self.flags.clone()).map_err(|error| {
            let reason = one_line(&error.to_string());
            anyhow!("a setting given on the command line cannot be used: {reason}")
        })?;
        let environment = C::Layer::from_env().map_err(|error| {
            let reason = one_line(&format!("{error:#}"));
            anyhow!("the environment has a bad setting: {reason}")
        })?;
        let from_file = match &self.file {
            Some((path, text)) => parse_file(path, text)?,
            None => C::Layer::empty(),
        };
        let layer = flags
            .with_fallback(environment)
            .with_fallback(from_file)
            .with_fallback(C::Layer::default_values());
        Ok(C::from_layer(layer)?)
    }

    /// A settings file with every setting, and which source each value comes from. Secrets are hidden.
    pub fn show<C: Config>(&self) -> Result<String> {
        let file = self.file_table()?;
        Ok(self.layers(&file).show(C::META.fields))
    }

    /// Every setting that has a value, as its source wrote it: what [`template`] takes. Secrets are not hidden.
    pub fn settings<C: Config>(&self) -> Result<Table> {
        let file = self.file_table()?;
        Ok(self.layers(&file).settings(C::META.fields))
    }

    fn file_table(&self) -> Result<Table> {
        let text = self.file.as_ref().map_or("", |(_, text)| text);
        Ok(text.parse()?)
    }

    fn layers<'a>(&'a self, file: &'a Table) -> show::Layers<'a, impl Fn(&str) -> Option<String>> {
        show::Layers {
            flags: &self.flags,
            environment: |name: &str| std::env::var(name).ok(),
            file,
        }
    }
}

/// The commented settings file of a program, with these settings filled in and the defaults as comments.
pub fn template<C: Config>(settings: &Table) -> String {
    let mut table = "";
    let template = confique::toml::template::<C>(FormatOptions::default());
    let lines = template.lines().map(|line| {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            table = name;
        }
        let setting = line.strip_prefix('#').and_then(|rest| {
            let (key, _) = rest.split_once(" =")?;
            Some((key, settings.get(table)?.get(key)?))
        });
        match setting {
            Some((key, value)) => format!("{key} = {value}\n"),
            None => format!("{line}\n"),
        }
    });
    lines.collect()
}

/// A table of Markdown for each table of settings: key, default, what it is for.
pub fn reference<C: Config>() -> String {
    let mut text = String::new();
    for table in C::META.fields {
        let FieldKind::Nested { meta } = table.kind else {
            continue;
        };
        let about = meta.doc.join(" ");
        let _ = write!(
            text,
            "### {}\n\n{}\n\n| setting | default | |\n|---|---|---|\n",
            table.name,
            about.trim()
        );
        for setting in meta.fields {
            let default = default_of::<C>(table.name, setting.name);
            let default = default.map_or(String::new(), |value| format!("`{value}`"));
            let doc = setting.doc.join(" ");
            let doc = doc
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .replace('|', "\\|");
            let _ = writeln!(text, "| `{}` | {default} | {doc} |", setting.name);
        }
        text.push('\n');
    }
    text
}

/// As the template shows it.
fn default_of<C: Config>(table: &str, key: &str) -> Option<String> {
    let template = confique::toml::template::<C>(FormatOptions::default());
    let (_, of_table) = template.split_once(&format!("\n[{table}]\n"))?;
    let of_table = of_table.split("\n[").next()?;
    let begins = format!("#{key} = ");
    let line = of_table
        .lines()
        .find_map(|line| line.strip_prefix(&begins))?;
    Some(line.to_owned())
}

/// What `--set table.key=value` says, once or more often, as a table of tables. Values are TOML, or plain text
/// where they do not parse as such.
pub fn overrides(settings: &[String]) -> Result<Table> {
    let mut root = Table::new();
    for text in settings {
        let parts = text
            .split_once('=')
            .map(|(name, value)| (name.trim(), value.trim()));
        let Some((name, value)) = parts.filter(|(name, _)| name.contains('.')) else {
            bail!("`--set {text}` is not of the form table.key=value");
        };
        set(&mut root, name, toml_or_text(value));
    }
    Ok(root)
}

/// Refuses secrets among what a program was started with: everybody on the machine can read that.
pub fn refuse_secrets(settings: &[String]) -> Result<()> {
    for text in settings {
        let Some((name, value)) = text.split_once('=') else {
            continue; // is no setting
        };
        let key = name.split_once('.').map_or(name, |(_, key)| key).trim();
        if show::holds_secret(key, &toml_or_text(value.trim())) {
            bail!(
                "`--set {name}=…` would show a secret to everybody on this machine who lists its programs: put it into the \
                 settings file, a file of its own, or the environment"
            );
        }
    }
    Ok(())
}

/// Sets `table.key`, the only depth that settings have.
pub fn set(root: &mut Table, name: &str, value: Value) {
    let (table, key) = name.split_once('.').unwrap_or(("", name));
    let entry = root.entry(table).or_insert_with(|| Table::new().into());
    if let Value::Table(entry) = entry {
        entry.insert(key.to_owned(), value);
    }
}

fn parse_file<L: Layer>(path: &Path, text: &str) -> Result<L> {
    toml::from_str(text).map_err(|mut error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = &text.as_bytes()[..at.min(text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        // Without the text it names the setting in place of drawing the line.
        error.set_input(None);
        let reason = one_line(&error.to_string());
        anyhow!("{}, line {line}: {reason}", path.display())
    })
}

/// The parsers spread some of their messages over several lines, and give no example of a duration.
fn one_line(message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim).collect();
    let line = lines.join(", ");
    line.replace("expected a duration", "expected a duration like \"15m\"")
}

fn toml_or_text(text: &str) -> Value {
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}
