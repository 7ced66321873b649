//! What `init` and `start --init` need to know beside the settings.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use kit::private_file;
use proto::NetworkId;

use crate::membership::Terms;

#[derive(Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// An admission token, for networks that ask for one
    #[arg(long, env = "FSN_NODE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file with that token in its first line
    #[arg(
        long,
        env = "FSN_NODE_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "token"
    )]
    token_file: Option<PathBuf>,
    /// The id of the network that you mean to join, to be checked against the coordinator's
    #[arg(long, env = "FSN_NODE_NETWORK_ID", value_name = "HEX")]
    network_id: Option<NetworkId>,
}

impl JoinArgs {
    pub(crate) fn terms(&self) -> Result<Terms> {
        Ok(Terms {
            token: self.token()?,
            network_id: self.network_id,
        })
    }

    fn token(&self) -> Result<Option<String>> {
        let Some(path) = &self.token_file else {
            return Ok(self.token.clone());
        };
        let name = path.display();
        let text = private_file::read(path)?.with_context(|| format!("there is no file {name}"))?;
        let text = String::from_utf8(text).with_context(|| format!("{name} is not text"))?;
        let token = text.lines().next().unwrap_or_default().trim();
        ensure!(!token.is_empty(), "{name} holds no token");
        Ok(Some(token.to_owned()))
    }
}
