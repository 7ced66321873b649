//! `local-cluster demo`: the promise of the network, shown on a file; then a node that breaks its own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use api::files::File;
use clap::Args;
use local_cluster::client::Session;
use local_cluster::{Afterwards, Cluster, DirLock, Member, Reaper};
use rand::Rng;
use reqwest::Body;

use super::holdings::{held, plural};
use super::{DirArg, cheat, narrate, sha256};

/// Enough for every node to hold part of it.
const MADE_BYTES: usize = 8 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// The file to store [default: 8 MiB of random bytes]
    file: Option<PathBuf>,
    /// Leave out the second half, in which a node loses what it holds and is found out
    #[arg(long)]
    without_cheat: bool,
    #[command(flatten)]
    dir: DirArg,
}

impl Demo {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let dir = self.dir.path()?;
        Cluster::open(&dir)?;
        let _lock = DirLock::acquire(&dir, &narrate)?;
        let mut cluster = Cluster::open(&dir)?;
        let session = cluster.session().await.with_context(|| {
            let flag = self.dir.flag();
            format!("the network does not answer; `local-cluster up{flag}` starts it")
        })?;

        let made = match self.file {
            Some(_) => None,
            None => Some(random_file()?),
        };
        let path = match (&self.file, &made) {
            (Some(path), _) => path.as_path(),
            (None, Some(made)) => made.path(),
            (None, None) => bail!("there is no file to store"),
        };
        let (size, digest) = sha256::digest(path).await?;
        println!("File        {}, {size} bytes", path.display());
        println!("SHA-256     {digest}");

        let before = held(&cluster).await?;
        let file = upload(&session, path, size).await?;
        println!(
            "Stored      as {} in {}, each sealed anew for every node that holds it",
            file.file_id,
            plural(file.chunk_count, "chunk")
        );

        let victim = holder(&before, &held(&cluster).await?);
        if let Some((node, copies)) = victim {
            cluster.kill(node).await?;
            let copies = plural(copies, "chunk");
            println!("Killed      {node} with SIGKILL; it held copies of {copies}");
        } else {
            println!("Killed      nothing: an empty file has no chunks that a node could hold");
        }
        let back = session.download_digest(file.file_id).await;
        if let Some((node, _)) = victim {
            let launcher = cluster.launcher()?.to_owned();
            let reaper = Reaper::start(&launcher, cluster.dir(), Afterwards::KeepFiles)?;
            cluster.start(node).await?;
            reaper.release()?;
        }
        let (length, back) = back.context("the file could not be downloaded")?;
        println!("Downloaded  {length} bytes from the nodes that are left");
        println!("SHA-256     {back}");
        if let Some((node, _)) = victim {
            println!("Restarted   {node}");
        }
        if (length, &back) != (size, &digest) {
            println!("Result      DIFFERENT: what came back is not what was stored");
            return Ok(ExitCode::FAILURE);
        }
        println!("Result      the same, byte for byte");
        if !self.without_cheat {
            println!();
            cheat::show(&cluster, &session).await?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn random_file() -> Result<tempfile::NamedTempFile> {
    let mut content = vec![0; MADE_BYTES];
    kit::Entropy::system().rng().fill_bytes(&mut content);
    let file = tempfile::NamedTempFile::with_prefix("fsn-demo-")?;
    std::fs::write(file.path(), &content).context("cannot write a file to store")?;
    Ok(file)
}

async fn upload(session: &Session, path: &Path, size: u64) -> Result<File> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let body = Body::wrap_stream(sha256::pieces(path).await?);
    session
        .upload(&name, Some(size), body)
        .await
        .context("the file could not be stored")
}

/// The node that took most of the file, and how many blobs.
fn holder(before: &[u64], after: &[u64]) -> Option<(Member, u64)> {
    let taken = before
        .iter()
        .zip(after)
        .map(|(before, after)| after.saturating_sub(*before));
    let nodes = (1..).map(Member::Node);
    let most = nodes.zip(taken).max_by_key(|(_, taken)| *taken);
    most.filter(|(_, taken)| *taken > 0)
}
