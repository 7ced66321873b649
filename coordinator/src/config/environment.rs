//! Variables that are meant for the coordinator and name no setting: misspelt ones, most likely.
//!
//! Only tables that the coordinator does not share with the other programs of this project are looked
//! at: theirs may stand in the same environment.

use confique::meta::{Field, FieldKind};

/// Tables that storage nodes have, too, with settings of their own.
const SHARED: [&str; 4] = ["p2p", "ping", "proofs", "log"];

/// Those of `names` that begin like a setting of one of `tables` and are none.
pub(super) fn unknown(tables: &[Field], names: impl Iterator<Item = String>) -> Vec<String> {
    let mut unknown: Vec<String> = names.filter(|name| is_unknown(tables, name)).collect();
    unknown.sort_unstable();
    unknown
}

fn is_unknown(tables: &[Field], name: &str) -> bool {
    tables
        .iter()
        .filter(|table| !SHARED.contains(&table.name))
        .any(|table| {
            let prefix = format!("FSN_{}_", table.name.to_uppercase());
            name.starts_with(&prefix) && !is_setting(table, name)
        })
}

fn is_setting(table: &Field, name: &str) -> bool {
    let FieldKind::Nested { meta } = table.kind else {
        return false;
    };
    meta.fields
        .iter()
        .any(|setting| matches!(setting.kind, FieldKind::Leaf { env, .. } if env == Some(name)))
}

#[cfg(test)]
mod tests {
    use confique::Config as _;

    use super::super::Config;
    use super::*;

    #[test]
    fn a_misspelt_variable_is_told_and_those_of_other_programs_are_not() {
        let names = [
            "FSN_UPLOADS_WINDW",
            "FSN_UPLOADS_WINDOW",
            "FSN_DATABASE_URI",
            "FSN_CONFIG",
            "FSN_TAG",
            "FSN_TEST_KILLS",
            "FSN_NODE_NAME",
            "FSN_P2P_BOOTSTRAP_PEERS",
            "FSN_PROOFS_DISK_SHARE",
            "FSN_STORE_LAYOUT",
            "PATH",
        ];
        let names = names.iter().map(ToString::to_string);
        let found = unknown(Config::META.fields, names);
        assert_eq!(found, ["FSN_DATABASE_URI", "FSN_UPLOADS_WINDW"]);
    }
}
