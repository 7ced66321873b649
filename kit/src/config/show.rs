//! What holds now, and which source said so: each value as its source wrote it.

use std::fmt::Write as _;

use confique::meta::{Expr, Field, FieldKind, LeafKind};
use toml::{Table, Value};

pub(super) const HIDDEN: &str = "(hidden)";

/// Where values can come from, but for the defaults.
pub(super) struct Layers<'a, E> {
    pub(super) flags: &'a Table,
    pub(super) environment: E,
    pub(super) file: &'a Table,
}

enum Source {
    Flag,
    Variable(&'static str),
    File,
    Default,
}

impl<E: Fn(&str) -> Option<String>> Layers<'_, E> {
    /// A settings file with every setting, secrets excepted.
    pub(super) fn show(&self, tables: &[Field]) -> String {
        let mut text = String::from(
            "# The settings that hold now. Where no source stands behind one, it is the default. Secrets are hidden.\n",
        );
        for (table, settings) in leaves(tables) {
            let _ = writeln!(text, "\n[{table}]");
            for setting in settings {
                self.show_setting(&mut text, table, setting);
            }
        }
        text
    }

    /// Every setting that has a value.
    pub(super) fn settings(&self, tables: &[Field]) -> Table {
        let tables = leaves(tables).map(|(table, settings)| {
            let values = settings.iter().filter_map(|setting| {
                let (value, _) = self.value(table, setting)?;
                Some((setting.name.to_owned(), value))
            });
            (table.to_owned(), Value::Table(values.collect()))
        });
        tables.collect()
    }

    fn show_setting(&self, text: &mut String, table: &str, setting: &Field) {
        let key = setting.name;
        let Some((value, source)) = self.value(table, setting) else {
            let _ = writeln!(text, "#{key} =");
            return;
        };
        let _ = write!(text, "{key} = {}", without_secrets(key, value));
        let _ = match source {
            Source::Flag => writeln!(text, "  # --set"),
            Source::Variable(name) => writeln!(text, "  # {name}"),
            Source::File => writeln!(text, "  # the file"),
            Source::Default => writeln!(text),
        };
    }

    fn value(&self, table: &str, setting: &Field) -> Option<(Value, Source)> {
        let FieldKind::Leaf { env, kind } = setting.kind else {
            return None;
        };
        let default = match kind {
            LeafKind::Required { default } => default,
            LeafKind::Optional => None,
        };
        let find = |source: &Table| source.get(table)?.get(setting.name).cloned();
        let from_environment = || {
            let name = env?;
            let text = (self.environment)(name).filter(|text| !text.is_empty())?;
            Some((parse(text, default.as_ref()), Source::Variable(name)))
        };
        find(self.flags)
            .map(|value| (value, Source::Flag))
            .or_else(from_environment)
            .or_else(|| Some((find(self.file)?, Source::File)))
            .or_else(|| Some((Value::try_from(default?).ok()?, Source::Default)))
    }
}

/// The tables, each with its settings: the only depth there is.
fn leaves(tables: &[Field]) -> impl Iterator<Item = (&'static str, &'static [Field])> {
    tables.iter().filter_map(|table| match table.kind {
        FieldKind::Nested { meta } => Some((table.name, meta.fields)),
        FieldKind::Leaf { .. } => None,
    })
}

/// What a variable's text stands for, by the kind of the default; what has none is a text.
fn parse(text: String, default: Option<&Expr>) -> Value {
    match default {
        Some(Expr::Array(_)) => text.split(',').collect::<Vec<_>>().into(),
        Some(Expr::Str(_)) | None => Value::String(text),
        Some(_) => super::toml_or_text(&text),
    }
}

/// Whether a setting of this name and value is, or has in it, a secret.
pub(super) fn holds_secret(key: &str, value: &Value) -> bool {
    without_secrets(key, value.clone()) != *value
}

fn without_secrets(key: &str, value: Value) -> Value {
    let secret = ["token", "password", "secret"];
    if secret.iter().any(|ending| key.ends_with(ending)) {
        return Value::String(HIDDEN.to_owned());
    }
    match value {
        Value::String(text) => Value::String(without_password(&text)),
        other => other,
    }
}

/// A URL without the password that it may carry before its host or among its parameters.
pub(super) fn without_password(text: &str) -> String {
    let mut shown = text.to_owned();
    if let Some((scheme, rest)) = text.split_once("://")
        && let Some((account, place)) = rest.rsplit_once('@')
        && let Some((user, _)) = account.split_once(':')
    {
        shown = format!("{scheme}://{user}:{HIDDEN}@{place}");
    }
    if let Some((before, after)) = shown.split_once("password=") {
        let rest = after.find('&').map_or("", |end| &after[end..]);
        shown = format!("{before}password={HIDDEN}{rest}");
    }
    shown
}
