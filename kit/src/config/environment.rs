//! Variables that are meant for this program and name no setting: misspelt ones, most likely.
//!
//! Only tables that the program does not share with the other programs of this project are looked at: theirs
//! may stand in the same environment.

use confique::Config;
use confique::meta::{Field, FieldKind};

/// A variable that is no setting of a table. One that is empty counts as one that is not set, as it does for settings:
/// Compose files and unit files set many that way.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Variables of this process that begin like settings of `C`, `FSN_<TABLE>_`, and are none. `shared` are the
/// tables that other programs have, too, with settings of their own.
pub fn unknown_variables<C: Config>(shared: &[&str]) -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    unknown(C::META.fields, shared, names)
}

pub(super) fn unknown(
    tables: &[Field],
    shared: &[&str],
    names: impl Iterator<Item = String>,
) -> Vec<String> {
    let own: Vec<&Field> = tables
        .iter()
        .filter(|table| !shared.contains(&table.name))
        .collect();
    let is_unknown = |name: &String| {
        own.iter().any(|table| {
            let prefix = format!("FSN_{}_", table.name.to_uppercase());
            name.starts_with(&prefix) && !is_setting(table, name)
        })
    };
    let mut unknown: Vec<String> = names.filter(is_unknown).collect();
    unknown.sort_unstable();
    unknown
}

fn is_setting(table: &Field, name: &str) -> bool {
    let FieldKind::Nested { meta } = table.kind else {
        return false;
    };
    meta.fields
        .iter()
        .any(|setting| matches!(setting.kind, FieldKind::Leaf { env, .. } if env == Some(name)))
}
