//! `storage-node identity show | export | import`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use kit::private_file;

use super::SettingsArgs;
use crate::volume::identity;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print the node's peer id
    Show,
    /// Write the identity to a text file that you keep in a safe place
    Export {
        /// A file that does not exist yet; "-" prints to the terminal
        file: PathBuf,
    },
    /// Restore an identity from a text file; one that is there is never overwritten
    Import { file: PathBuf },
}

pub(super) fn run(settings: &SettingsArgs, command: Command) -> Result<ExitCode> {
    let volume = settings.volume()?;
    let path = volume.identity_path();
    let load = || {
        identity::load(&path)?
            .with_context(|| format!("there is no identity in {}", volume.root().display()))
    };
    match command {
        Command::Show => println!("{}", load()?.public().to_peer_id()),
        Command::Export { file } => {
            let text = identity::to_text(&load()?)?;
            if file.as_os_str() == "-" {
                print!("{text}");
            } else {
                private_file::create(&file, text.as_bytes())
                    .with_context(|| format!("cannot create {}", file.display()))?;
                println!(
                    "The identity is in {}. Whoever has that file can act as this node.",
                    file.display()
                );
            }
        }
        Command::Import { file } => {
            let Some(text) = private_file::read(&file)? else {
                bail!("there is no file {}", file.display());
            };
            let keypair = identity::from_text(&String::from_utf8_lossy(&text))
                .with_context(|| format!("{} cannot be imported", file.display()))?;
            volume.prepare()?;
            let _lock = volume.lock()?;
            identity::save(&path, &keypair)?;
            println!("Imported identity {}.", keypair.public().to_peer_id());
            if volume.marker()?.is_none() {
                println!("Next: storage-node init");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
