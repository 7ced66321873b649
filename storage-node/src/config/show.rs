//! `storage-node config`: what holds now.
//!
//! Walks the description that the settings type carries, so that no setting can be forgotten, and gives
//! each value as its source wrote it. Rejected: a list of the settings beside it, which new ones were
//! left out of.

use confique::meta::{Expr, Field, FieldKind, LeafKind};
use toml::{Table, Value};

/// Where values can come from, but for the defaults.
pub(super) struct Sources<'a, E> {
    pub(super) flags: &'a Table,
    pub(super) environment: E,
    pub(super) file: &'a Table,
}

impl<E: Fn(&str) -> Option<String>> Sources<'_, E> {
    /// Every setting that has a value.
    pub(super) fn settings(&self, tables: &[Field]) -> Table {
        let mut settings = Table::new();
        for table in tables {
            let FieldKind::Nested { meta } = table.kind else {
                continue;
            };
            let values = meta.fields.iter().filter_map(|setting| {
                let value = self.value(table.name, setting)?;
                Some((setting.name.to_owned(), value))
            });
            settings.insert(table.name.to_owned(), Value::Table(values.collect()));
        }
        settings
    }

    fn value(&self, table: &str, setting: &Field) -> Option<Value> {
        let FieldKind::Leaf { env, kind } = setting.kind else {
            return None;
        };
        let default = match kind {
            LeafKind::Required { default } => default,
            LeafKind::Optional => None,
        };
        let find = |source: &Table| source.get(table)?.get(setting.name).cloned();
        let from_environment = || {
            let text = (self.environment)(env?).filter(|text| !text.is_empty())?;
            Some(parse(text, default.as_ref()))
        };
        find(self.flags)
            .or_else(from_environment)
            .or_else(|| find(self.file))
            .or_else(|| Value::try_from(default?).ok())
    }
}

/// What a variable's text stands for, by the kind of the default; what has none is a text.
fn parse(text: String, default: Option<&Expr>) -> Value {
    match default {
        Some(Expr::Array(_)) => text.split(',').collect::<Vec<_>>().into(),
        Some(Expr::Str(_)) | None => Value::String(text),
        Some(_) => super::toml_or_text(&text),
    }
}
