//! Tests of layered settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::show::{HIDDEN, Layers, without_password};
use super::*;

#[derive(Debug, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
struct Settings {
    #[config(nested)]
    http: Http,
    #[config(nested)]
    database: Database,
    #[config(nested)]
    node: Node,
    #[config(nested)]
    p2p: P2p,
}

/// The API.
#[derive(Debug, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
struct Http {
    /// Where it listens.
    #[config(default = "127.0.0.1:8080", env = "FSN_HTTP_LISTEN")]
    listen: SocketAddr,
    /// How long a request may take.
    #[config(
        default = "30s",
        env = "FSN_HTTP_REQUEST_TIMEOUT",
        deserialize_with = humantime_serde::deserialize
    )]
    request_timeout: Duration,
    #[config(default = 3, env = "FSN_HTTP_RETRIES")]
    retries: u32,
}

#[derive(Debug, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
struct Database {
    #[config(env = "FSN_DATABASE_URL")]
    url: Option<String>,
    #[config(env = "FSN_DATABASE_TOKEN")]
    token: Option<String>,
}

#[derive(Debug, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
struct Node {
    #[config(env = "FSN_NODE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    #[config(env = "FSN_NODE_REGION")]
    region: Option<String>,
}

#[derive(Debug, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
struct P2p {
    #[config(default = [], env = "FSN_P2P_LISTEN", parse_env = confique::env::parse::list_by_comma)]
    listen: Vec<String>,
    #[config(default = false, env = "FSN_P2P_UPNP")]
    upnp: bool,
}

fn flags(overrides: &[&str]) -> Table {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    super::overrides(&overrides).unwrap()
}

fn load(file: &str, overrides: &[&str]) -> Result<Settings> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("program.toml");
    fs::write(&path, file).unwrap();
    Sources::new(flags(overrides)).with_file(&path)?.load()
}

fn refused(file: &str, overrides: &[&str]) -> String {
    format!("{:#}", load(file, overrides).unwrap_err())
}

fn show(overrides: &[&str], environment: &[(&str, &str)], file: &str) -> String {
    let layers = Layers {
        flags: &flags(overrides),
        environment: |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        },
        file: &file.parse().unwrap(),
    };
    layers.show(Settings::META.fields)
}

fn assert_line(shown: &str, line: &str) {
    assert!(shown.lines().any(|other| other == line), "{line}\n{shown}");
}

#[test]
fn a_secret_on_the_command_line_is_refused_without_being_shown() {
    for secret in [
        "nodes.bootstrap_token=hunter2hunter2",
        "mail.password=hunter2",
        "database.url=postgres://me:hunter2@db/storage",
        "database.url=postgres://me@db/storage?password=hunter2",
    ] {
        let error = refuse_secrets(&[secret.to_owned()]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("to everybody on this machine"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    for open in [
        "nodes.bootstrap_token_file=/run/secrets/token",
        "database.url=postgres://me@db/storage",
        "auth.password_min_length=12",
    ] {
        refuse_secrets(&[open.to_owned()]).unwrap();
    }
}

#[test]
fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
    let file = "[http]\nretries = 4\nrequest_timeout = \"1m\"";
    let settings = load(file, &["http.retries=5", "node.region=eu north"]).unwrap();
    assert_eq!(settings.http.retries, 5);
    assert_eq!(settings.http.request_timeout, Duration::from_secs(60));
    assert_eq!(settings.http.listen.port(), 8080);
    assert_eq!(settings.node.region.as_deref(), Some("eu north"));
}

#[test]
fn a_bad_line_is_told_once_with_its_number_and_an_example() {
    let error = refused("[http]\n\nrequest_timeout = 5", &[]);
    assert!(error.contains("program.toml, line 3: "), "{error}");
    assert!(error.contains("a duration like \"15m\""), "{error}");
    assert!(error.contains("http.request_timeout"), "{error}");
    assert_eq!(error.matches("program.toml").count(), 1, "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    let error = refused("", &["http.request_timeout=soon"]);
    assert!(error.contains("command line"), "{error}");
    assert!(error.contains("a duration like \"15m\""), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn what_is_no_setting_is_refused_by_name() {
    let misspelt = refused("[http]\nretrys = 4", &[]);
    assert!(misspelt.contains("program.toml, line 2: ") && misspelt.contains("retrys"));
    assert!(refused("not toml", &[]).contains("program.toml, line 1: "));
    assert!(refused("", &["htp.retries=4"]).contains("htp"));
    let overrides = super::overrides(&["retries=4".to_owned()]);
    let error = overrides.unwrap_err().to_string();
    assert_eq!(
        error,
        "`--set retries=4` is not of the form table.key=value"
    );
}

#[test]
fn a_file_that_is_named_has_to_be_there_and_a_usual_one_has_not() {
    let nowhere = Path::new("/nowhere/program.toml");
    let sources = Sources::default();
    let error = sources.clone().with_file(nowhere).unwrap_err();
    assert!(format!("{error:#}").contains("cannot read /nowhere/program.toml"));
    let settings: Settings = sources.with_file_if_there(nowhere).unwrap().load().unwrap();
    assert_eq!(settings.http.retries, 3);
}

#[test]
fn the_template_is_a_valid_file_that_changes_nothing() {
    let template = template::<Settings>(&Table::new());
    assert!(template.contains("# Where it listens."), "{template}");
    assert!(template.contains("#retries = 3"), "{template}");
    assert_eq!(load(&template, &[]).unwrap().http.retries, 3);
}

#[test]
fn the_template_takes_the_settings_that_hold() {
    let sources = Sources::new(flags(&["http.retries=5", "node.data_dir=/data"]));
    let filled = template::<Settings>(&sources.settings::<Settings>().unwrap());
    for line in [
        "retries = 5",
        "data_dir = \"/data\"",
        "listen = \"127.0.0.1:8080\"",
    ] {
        assert_line(&filled, line);
    }
    let settings = load(&filled, &[]).unwrap();
    assert_eq!(settings.http.retries, 5);
    assert_eq!(settings.node.data_dir, Some(PathBuf::from("/data")));
}

#[test]
fn each_setting_is_shown_with_the_source_that_won() {
    let shown = show(
        &["http.retries=4"],
        &[
            ("FSN_HTTP_RETRIES", "5"),
            ("FSN_P2P_UPNP", "true"),
            ("FSN_P2P_LISTEN", "/ip4/1.2.3.4/tcp/1,/ip4/1.2.3.4/tcp/2"),
            ("FSN_NODE_REGION", "49"),
            ("FSN_HTTP_REQUEST_TIMEOUT", ""),
        ],
        "[http]\nlisten = \"0.0.0.0:80\"\n[p2p]\nupnp = false",
    );
    for line in [
        "retries = 4  # --set",
        "upnp = true  # FSN_P2P_UPNP",
        r#"listen = ["/ip4/1.2.3.4/tcp/1", "/ip4/1.2.3.4/tcp/2"]  # FSN_P2P_LISTEN"#,
        r#"listen = "0.0.0.0:80"  # the file"#,
        r#"request_timeout = "30s""#,
        r#"region = "49"  # FSN_NODE_REGION"#,
        "#url =",
    ] {
        assert_line(&shown, line);
    }
}

#[test]
fn secrets_do_not_show_from_any_source() {
    let url = |url| [("FSN_DATABASE_URL", url)];
    let in_file = "[database]\nurl = \"postgres://u:hunter2@host/db\"";
    for shown in [
        show(&["database.token=hunter2"], &[], ""),
        show(&[], &[("FSN_DATABASE_TOKEN", "hunter2")], ""),
        show(&[], &[], in_file),
        show(&[], &url("postgres://u:hun@hunter2/x@host/db"), ""),
        show(
            &[],
            &url("postgres://host/db?user=u&password=hunter2&x=y"),
            "",
        ),
    ] {
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains(HIDDEN), "{shown}");
    }
    let harmless = "postgres://u@host/db";
    assert_eq!(without_password(harmless), harmless);
}

#[test]
fn what_is_shown_is_a_settings_file_again() {
    let shown = show(&[], &[("FSN_DATABASE_URL", "postgres://u@host/db")], "");
    let settings = load(&shown, &[]).unwrap();
    assert_eq!(
        settings.database.url.as_deref(),
        Some("postgres://u@host/db")
    );
    assert_eq!(settings.database.token, None);
    assert!(settings.p2p.listen.is_empty() && !settings.p2p.upnp);
}

#[test]
fn a_misspelt_variable_is_told_and_those_of_other_programs_are_not() {
    let names = [
        "FSN_HTTP_RETRYS",
        "FSN_HTTP_RETRIES",
        "FSN_DATABASE_URI",
        "FSN_CONFIG",
        "FSN_NODE_NAME",
        "FSN_P2P_BOOTSTRAP_PEERS",
        "FSN_STORE_LAYOUT",
        "PATH",
    ];
    let names = names.iter().map(ToString::to_string);
    let found = environment::unknown(Settings::META.fields, &["node", "p2p"], names);
    assert_eq!(found, ["FSN_DATABASE_URI", "FSN_HTTP_RETRYS"]);
}
