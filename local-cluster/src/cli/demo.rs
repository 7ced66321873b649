//! `local-cluster demo`: the promise of the network, shown on a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use local_cluster::client::{FileInfo, Session};
use local_cluster::{Afterwards, Cluster, DirLock, Guard, Member, edge};
use rand::Rng;
use reqwest::Body;

use super::{DirArg, narrate, sha256};

/// Enough for every node to hold part of it.
const MADE_BYTES: usize = 8 * 1024 * 1024;

#[derive(Debug, Args)]
pub struct Demo {
    /// The file to store [default: 8 MiB of random bytes]
    file: Option<PathBuf>,
    #[command(flatten)]
    dir: DirArg,
}

impl Demo {
    pub async fn run(self) -> Result<ExitCode> {
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

        let file = upload(&session, path, size).await?;
        println!(
            "Stored      as {} in {} chunk{}, each sealed anew for every node that holds it",
            file.file_id,
            file.chunk_count,
            if file.chunk_count == 1 { "" } else { "s" }
        );

        let victim = holder(&cluster, &session, &file).await?;
        if let Some((node, held)) = victim {
            cluster.kill(node).await?;
            println!("Killed      {node} with SIGKILL; it held a copy of {held} of the chunks");
        } else {
            println!("Killed      nothing: an empty file has no chunks that a node could hold");
        }
        let back = session.download_digest(&file.file_id).await;
        if let Some((node, _)) = victim {
            let launcher = cluster.launcher()?.to_owned();
            let guard = Guard::start(&launcher, cluster.dir(), Afterwards::KeepFiles)?;
            cluster.start(node).await?;
            guard.release()?;
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
        Ok(ExitCode::SUCCESS)
    }
}

fn random_file() -> Result<tempfile::NamedTempFile> {
    let mut content = vec![0; MADE_BYTES];
    edge::random_source().fill_bytes(&mut content);
    let file = tempfile::NamedTempFile::with_prefix("fsn-demo-")?;
    std::fs::write(file.path(), &content).context("cannot write a file to store")?;
    Ok(file)
}

async fn upload(session: &Session, path: &Path, size: u64) -> Result<FileInfo> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let body = Body::wrap_stream(sha256::pieces(path).await?);
    session
        .upload(&name, Some(size), body)
        .await
        .context("the file could not be stored")
}

/// The node that holds most of the file, and of how many chunks.
async fn holder(
    cluster: &Cluster,
    session: &Session,
    file: &FileInfo,
) -> Result<Option<(Member, usize)>> {
    let durability = session
        .durability(&file.file_id)
        .await
        .context("cannot ask where the chunks are")?;
    let nodes = cluster.status()?.nodes;
    let held = |index: usize| {
        let id = nodes[index].node_id.as_deref();
        let chunks = durability.chunks.iter();
        let replicas = chunks.flat_map(|chunk| &chunk.replicas);
        replicas.filter(|r| Some(r.node_id.as_str()) == id).count()
    };
    let most = (0..nodes.len())
        .map(|index| (Member::Node(index + 1), held(index)))
        .max_by_key(|(_, held)| *held);
    Ok(most.filter(|(_, held)| *held > 0))
}
