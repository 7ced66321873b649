//! `coordinator config show`: what holds now, and which source said so.
//!
//! Walks the description that the settings type carries, so that no setting can be forgotten, and shows
//! each value as its source wrote it. Serializing the parsed settings would need a second list of them
//! and could not tell where a value came from.

use std::fmt::Write as _;

use confique::meta::{Expr, Field, FieldKind, LeafKind};
use toml::{Table, Value};

const HIDDEN: &str = "(hidden)";

/// Where values can come from, but for the defaults.
pub(super) struct Sources<'a, E> {
    pub(super) flags: &'a Table,
    pub(super) environment: E,
    pub(super) file: &'a Table,
}

impl<E: Fn(&str) -> Option<String>> Sources<'_, E> {
    /// A settings file with every setting, secrets excepted.
    pub(super) fn show(&self, tables: &[Field]) -> String {
        let mut text = String::from(
            "# The settings that hold now. Where no source stands behind one, it is the default. Secrets are hidden.\n",
        );
        for table in tables {
            let FieldKind::Nested { meta } = table.kind else {
                continue;
            };
            let _ = writeln!(text, "\n[{}]", table.name);
            for setting in meta.fields {
                self.show_setting(&mut text, table.name, setting);
            }
        }
        text
    }

    fn show_setting(&self, text: &mut String, table: &str, setting: &Field) {
        let FieldKind::Leaf { env, kind } = setting.kind else {
            return;
        };
        let default = match kind {
            LeafKind::Required { default } => default,
            LeafKind::Optional => None,
        };
        let key = setting.name;
        let find = |source: &Table| source.get(table)?.get(key).cloned();
        let from_environment = || {
            let name = env?;
            let value = (self.environment)(name).filter(|value| !value.is_empty())?;
            Some((parse(value, default.as_ref()), name))
        };
        let (value, source) = if let Some(value) = find(self.flags) {
            (Some(value), "  # --set".to_owned())
        } else if let Some((value, name)) = from_environment() {
            (Some(value), format!("  # {name}"))
        } else if let Some(value) = find(self.file) {
            (Some(value), "  # the file".to_owned())
        } else {
            let default = default.and_then(|default| Value::try_from(default).ok());
            (default, String::new())
        };
        let _ = match value {
            Some(value) => writeln!(text, "{key} = {}{source}", without_secrets(key, value)),
            None => writeln!(text, "#{key} ="),
        };
    }
}

/// What a variable's text stands for, by the kind that the setting has.
fn parse(text: String, default: Option<&Expr>) -> Value {
    match default {
        Some(Expr::Array(_)) => text.split(',').collect::<Vec<_>>().into(),
        Some(Expr::Str(_)) => Value::String(text),
        _ => super::toml_or_text(&text),
    }
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
fn without_password(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use confique::Config as _;

    use super::super::{Config, flags_table};
    use super::*;

    fn show(flags: &[&str], environment: &[(&str, &str)], file: &str) -> String {
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let lookup = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let sources = Sources {
            flags: &flags_table(&flags).unwrap(),
            environment: lookup,
            file: &file.parse().unwrap(),
        };
        sources.show(Config::META.fields)
    }

    fn assert_line(shown: &str, line: &str) {
        assert!(shown.lines().any(|other| other == line), "{line}\n{shown}");
    }

    #[test]
    fn each_setting_is_shown_with_the_source_that_won() {
        let shown = show(
            &["placement.replicas=4"],
            &[
                ("FSN_PLACEMENT_REPLICAS", "5"),
                ("FSN_PLACEMENT_DISTINCT_DOMAINS", "false"),
                ("FSN_P2P_LISTEN", "/ip4/1.2.3.4/tcp/1,/ip4/1.2.3.4/tcp/2"),
                ("FSN_LOG_FILTER", ""),
            ],
            "[http]\nlisten = \"0.0.0.0:80\"\n[placement]\ndistinct_domains = true",
        );
        assert_line(&shown, "replicas = 4  # --set");
        assert_line(
            &shown,
            "distinct_domains = false  # FSN_PLACEMENT_DISTINCT_DOMAINS",
        );
        assert_line(
            &shown,
            r#"listen = ["/ip4/1.2.3.4/tcp/1", "/ip4/1.2.3.4/tcp/2"]  # FSN_P2P_LISTEN"#,
        );
        assert_line(&shown, r#"listen = "0.0.0.0:80"  # the file"#);
        assert_line(&shown, r#"filter = "info""#);
        assert_line(&shown, "#url =");
    }

    #[test]
    fn secrets_do_not_show_from_any_source() {
        let shown = [
            show(&["nodes.bootstrap_token=hunter2"], &[], ""),
            show(&[], &[("FSN_NODES_BOOTSTRAP_TOKEN", "hunter2")], ""),
            show(
                &[],
                &[],
                "[database]\nurl = \"postgres://u:hunter2@host/db\"",
            ),
            show(
                &[],
                &[("FSN_DATABASE_URL", "postgres://u:hun@hunter2/x@host/db")],
                "",
            ),
            show(
                &["database.url=postgres://host/db?user=u&password=hunter2&x=y"],
                &[],
                "",
            ),
        ];
        for shown in shown {
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains(HIDDEN), "{shown}");
        }
        assert_eq!(
            without_password("postgres://u@host/db"),
            "postgres://u@host/db"
        );
    }

    #[test]
    fn what_is_shown_is_a_settings_file_again() {
        let shown = show(&[], &[("FSN_DATABASE_URL", "postgres://u@host/db")], "");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shown.toml");
        std::fs::write(&path, &shown).unwrap();
        Config::load(Some(&path), &[]).unwrap();
    }
}
