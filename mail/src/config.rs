//! Settings: by which server letters go, and in whose name.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use kit::config::read_secret;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Mailer, Server, Transport};

/// Letters to the owners of accounts. Without a server there are none: an administrator makes links for those who have
/// forgotten their password (`coordinator admin user reset-link`).
#[derive(Debug, Clone, confique::Config)]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub struct MailConfig {
    /// Mail server and port, like "smtp.example.com:587". Letters have links in them, so http.public_url has to be set, too.
    #[config(env = "FSN_MAIL_SERVER")]
    pub server: Option<String>,

    /// "starttls" (mostly port 587), "tls" (465), or "none", which is for a server on the same machine.
    #[config(default = "starttls", env = "FSN_MAIL_SECURITY")]
    pub security: MailSecurity,

    /// The name to log in to the server with, if it wants one.
    #[config(env = "FSN_MAIL_USER")]
    pub user: Option<String>,

    /// A file with the password to that name in its first line.
    #[config(env = "FSN_MAIL_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,

    /// Who letters are from, like "Storage <storage@example.com>".
    #[config(env = "FSN_MAIL_FROM")]
    pub from: Option<String>,

    /// How long the server may take over one command, "1s" to "5m".
    #[config(default = "30s", deserialize_with = humantime_serde::deserialize, env = "FSN_MAIL_TIMEOUT")]
    pub timeout: Duration,
}

/// How the way to a mail server is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailSecurity {
    StartTls,
    Tls,
    None,
}

impl MailConfig {
    /// What letters need stands or falls together. `public_url` is where links lead.
    pub fn check(&self, public_url: Option<&str>) -> anyhow::Result<()> {
        let range = Duration::from_secs(1)..=Duration::from_secs(300);
        ensure!(
            range.contains(&self.timeout),
            "mail.timeout is {:?}, it must be 1s to 5m",
            self.timeout
        );
        let Some(server) = &self.server else {
            return Ok(());
        };
        let (host, _) = parts(server)?;
        let is_here = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
        ensure!(
            self.security != MailSecurity::None || is_here,
            "mail.security is \"none\" and {host} is not this machine: links that open accounts would travel in the clear"
        );
        ensure!(
            self.from.is_some(),
            "mail.server is set and mail.from is not: letters need a sender"
        );
        ensure!(
            public_url.is_some(),
            "mail.server is set and http.public_url is not: the links in letters have to lead somewhere"
        );
        ensure!(
            self.user.is_some() == self.password_file.is_some(),
            "mail.user and mail.password_file are set together or not at all"
        );
        Ok(())
    }

    /// What letters go by, if there is anything.
    pub fn mailer(&self) -> anyhow::Result<Option<Mailer>> {
        let (Some(server), Some(from)) = (&self.server, &self.from) else {
            return Ok(None);
        };
        let (host, port) = parts(server)?;
        let credentials = match (&self.user, &self.password_file) {
            (Some(user), Some(path)) => {
                let password: Zeroizing<String> = read_secret("mail.password_file", path)?;
                Some((user.clone(), password))
            }
            _ => None,
        };
        let server = Server {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            transport: match self.security {
                MailSecurity::StartTls => Transport::StartTls,
                MailSecurity::Tls => Transport::Tls,
                MailSecurity::None => Transport::Plain,
            },
            credentials,
            from: from.clone(),
            timeout: self.timeout,
        };
        let mailer = Mailer::new(server).context("mail.from, mail.server")?;
        Ok(Some(mailer))
    }
}

fn parts(server: &str) -> anyhow::Result<(&str, u16)> {
    let parts = server.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (!host.is_empty()).then_some((host, port))
    });
    parts.with_context(|| {
        format!(
            "mail.server is `{server}`, it must be a name and a port, like \"smtp.example.com:587\""
        )
    })
}
