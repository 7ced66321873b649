//! What `init` and `start --init` need to know beside the settings.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use kit::config::variable;
use kit::private_file;
use proto::NetworkId;

use crate::membership::Terms;

const TOKEN: &str = "FSN_NODE_TOKEN";
const TOKEN_FILE: &str = "FSN_NODE_TOKEN_FILE";
const NETWORK_ID: &str = "FSN_NODE_NETWORK_ID";

/// Variables that are no settings and have an effect all the same.
pub(crate) const VARIABLES: [&str; 3] = [TOKEN, TOKEN_FILE, NETWORK_ID];

#[derive(Debug, clap::Args)]
pub(crate) struct JoinArgs {
    /// An admission token, for networks that ask for one [env: FSN_NODE_TOKEN]
    #[arg(long)]
    token: Option<String>,
    /// A file with that token in its first line [env: FSN_NODE_TOKEN_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// The id of the network that you mean to join, to be checked against the coordinator's [env: FSN_NODE_NETWORK_ID]
    #[arg(long, value_name = "HEX")]
    network_id: Option<NetworkId>,
}

impl JoinArgs {
    pub(crate) fn terms(&self) -> Result<Terms> {
        Ok(Terms {
            token: self.token()?,
            network_id: self.network_id()?,
        })
    }

    fn network_id(&self) -> Result<Option<NetworkId>> {
        let Some(given) = variable(NETWORK_ID).filter(|_| self.network_id.is_none()) else {
            return Ok(self.network_id);
        };
        let id = given.parse();
        id.map(Some)
            .with_context(|| format!("{NETWORK_ID} is no id of a network"))
    }

    fn token(&self) -> Result<Option<String>> {
        let flags = (self.token.clone(), self.token_file.clone());
        let given = match flags {
            (None, None) => (variable(TOKEN), variable(TOKEN_FILE).map(PathBuf::from)),
            flags => flags,
        };
        let path = match given {
            (Some(_), Some(_)) => bail!("{TOKEN} and {TOKEN_FILE} are both set: leave one out"),
            (token, None) => return Ok(token),
            (None, Some(path)) => path,
        };
        let name = path.display();
        let text =
            private_file::read(&path)?.with_context(|| format!("there is no file {name}"))?;
        let text = String::from_utf8(text).with_context(|| format!("{name} is not text"))?;
        let token = text.lines().next().unwrap_or_default().trim();
        ensure!(!token.is_empty(), "{name} holds no token");
        Ok(Some(token.to_owned()))
    }
}
