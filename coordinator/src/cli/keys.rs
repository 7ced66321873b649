//! `coordinator keys`: see which there are, rotate them, forget old ones.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::database::Pool;
use anyhow::Result;
use clap::{Subcommand, ValueEnum};

use crate::config::Config;
use crate::keys;
use crate::keys::{KeyPurpose, KeyRing, NamedKey, rotation};
use kit::Entropy;
use kit::output::{print_table, ruled_table};

/// Between two looks at whether the other coordinators have a key.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Between two lines about the progress.
const TELL_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// List the keys that the database names, and who holds them.
    List,
    /// Put a new key in the place of the one in use, while everything runs. Run it beside `keys.dir`;
    /// broken off, it goes on where it was.
    Rotate {
        #[arg(value_enum, default_value = "master")]
        purpose: PurposeArgument,
    },
    /// Take the name of a retired key that wraps nothing any more out of the database.
    Forget { key_id: String },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PurposeArgument {
    /// Wraps the files' data keys; they are wrapped anew, no stored byte is touched.
    Master,
    /// Signs access tokens; those that were signed before stay good until they expire.
    Token,
}

impl KeysCommand {
    pub(super) async fn run(self, config: &Config, pool: &Pool) -> Result<()> {
        match self {
            Self::List => list(pool).await,
            Self::Rotate { purpose } => {
                let ring = keys::open(&config.keys.dir, pool, &mut Entropy::system().rng()).await?;
                let purpose = match purpose {
                    PurposeArgument::Master => KeyPurpose::Master,
                    PurposeArgument::Token => KeyPurpose::Token,
                };
                rotate(pool, &ring, purpose).await
            }
            Self::Forget { key_id } => {
                let ttl = config.auth.access_token_ttl;
                let key = rotation::forget(pool, &key_id, ttl).await?;
                println!("{key_id} is forgotten: no coordinator asks for its file any more.");
                if key.purpose == KeyPurpose::Master {
                    println!(
                        "Keep {key_id}.key with your backups: older backups of the database need it, and \
                         so does the restoring of blobs that were stored under it (docs/operating-a-coordinator.md)."
                    );
                }
                Ok(())
            }
        }
    }
}

async fn list(pool: &Pool) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let named = keys::tables::keys::list(&mut connection).await?;
    let wrapped = keys::tables::keys::wrapped_by(&mut connection).await?;
    let wrapped: HashMap<String, u64> = wrapped.into_iter().collect();
    let running = rotation::running(&mut connection).await?;
    let mut table = ruled_table(["key", "state", "wraps", "held by coordinators"]);
    for key in named {
        let data_keys = match key.purpose {
            KeyPurpose::Master => wrapped.get(&key.id).copied().unwrap_or(0).to_string(),
            KeyPurpose::Network | KeyPurpose::Token => "-".to_owned(),
        };
        let holds = |coordinator: &&keys::tables::keys::RunningCoordinator| {
            key.purpose == KeyPurpose::Network || coordinator.key_ids.contains(&key.id)
        };
        let held = running.iter().filter(holds).count();
        table.add_row([
            key.id.clone(),
            key.state.name().to_owned(),
            data_keys,
            format!("{held} of {} that run", running.len()),
        ]);
    }
    print_table(table);
    Ok(())
}

async fn rotate(pool: &Pool, ring: &KeyRing, purpose: KeyPurpose) -> Result<()> {
    let rng = &mut Entropy::system().rng();
    let key = rotation::announce(pool, ring, purpose, rng).await?;
    println!(
        "{} is announced; its file is {}.",
        key.id,
        ring.file(&key.id).display()
    );
    until_held(pool, &key).await?;
    rotation::put_to_use(pool, &key).await?;
    println!("{} is in use.", key.id);
    ring.refresh(pool).await?;
    if purpose == KeyPurpose::Master {
        rewrap(pool, ring).await?;
    }
    println!(
        "Back {} up now. `coordinator keys list` shows the old key; `coordinator keys forget` it when \
         you want no coordinator to need its file any more.",
        ring.file(&key.id).display()
    );
    Ok(())
}

/// Tells what has to be copied where, and waits for it.
async fn until_held(pool: &Pool, key: &NamedKey) -> Result<()> {
    let mut told = Vec::new();
    loop {
        let lacking = {
            let mut connection = pool.acquire().await?;
            rotation::without(&mut connection, key).await?
        };
        if lacking.is_empty() {
            return Ok(());
        }
        let lacking: Vec<String> = lacking.into_iter().map(|one| one.peer_id).collect();
        if lacking != told {
            for peer_id in &lacking {
                println!(
                    "Waiting for coordinator {peer_id}: it looks for {}.key in its keys.dir. Copy the file there (mode 600).",
                    key.id
                );
            }
            told = lacking;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn rewrap(pool: &Pool, ring: &KeyRing) -> Result<()> {
    let rng = &mut Entropy::system().rng();
    let mut left = left(pool, ring).await?;
    let mut told = Instant::now();
    while left > 0 {
        let done = rotation::rewrap_some(pool, ring, rng).await?;
        left = left.saturating_sub(done as u64);
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            println!("{left} data keys and secrets are still to be wrapped anew.");
        }
        if done == 0 || left == 0 {
            // The coordinators are at the same work, and files come and go meanwhile.
            tokio::time::sleep(LOOK_EVERY).await;
            left = self::left(pool, ring).await?;
        }
    }
    println!(
        "Every data key and secret is wrapped with {}.",
        ring.master().id()
    );
    Ok(())
}

/// What another master key wraps than the one in use.
async fn left(pool: &Pool, ring: &KeyRing) -> Result<u64> {
    let in_use = ring.master();
    let mut connection = pool.acquire().await?;
    let wrapped = keys::tables::keys::wrapped_by(&mut connection).await?;
    let old = wrapped.into_iter().filter(|(id, _)| id != in_use.id());
    Ok(old.map(|(_, count)| count).sum())
}
