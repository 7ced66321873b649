//! `local-cluster up`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use local_cluster::{
    Afterwards, Cluster, DirLock, Overrides, Programs, Reaper, UpOptions, create_dir,
};

use super::{DirArg, narrate};

/// Whoever tries the network wants to see a proof fail before the day is over.
const FAST_PROOFS: &str = "[coordinator.proofs]
interval = \"5s\"
retry_after = \"5s\"
per_node_limit = 64
";

#[derive(Debug, Args)]
pub(super) struct Up {
    /// How many storage nodes [default: 5, or as many as there are]
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    /// How many coordinators share the database [default: 1, or as many as there are]
    #[arg(long, value_name = "N")]
    coordinators: Option<usize>,
    /// The (first) coordinator's HTTP port, 0 for any [default: 8080, or the one it had]
    #[arg(long, value_name = "P")]
    http_port: Option<u16>,
    /// A TOML file whose tables [coordinator] and [node] override those programs' settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    dir: DirArg,
}

impl Up {
    pub(super) async fn run(self) -> Result<()> {
        let dir = self.dir.path()?;
        let overrides = match &self.config {
            Some(file) => Some(Overrides::read(file)?),
            None if Cluster::open(&dir).is_err() => Some(FAST_PROOFS.parse()?),
            None => None, // what it had
        };
        let options = UpOptions {
            nodes: self.nodes,
            coordinators: self.coordinators,
            http_port: self.http_port,
            overrides,
            without_fsync: false,
        };
        let programs = Programs::beside_this_one()?;
        programs.check()?;
        create_dir(&dir)?;
        let _lock = DirLock::acquire(&dir, &narrate)?;
        let reaper = Reaper::start(&programs.local_cluster, &dir, Afterwards::KeepFiles)?;
        let random = &mut kit::Entropy::system().rng();
        let mut cluster = Cluster::prepare(&dir, programs, options, random, &narrate)?;
        cluster.bring_up(&narrate).await?;
        reaper.release()?;
        print!("{}", summary(&cluster, &self.dir.flag())?);
        Ok(())
    }
}

/// The client, where it is built.
fn with_fsn(program: &Path, base: &str) -> String {
    if !program.is_file() {
        return String::new();
    }
    let program = program.display();
    format!(
        r#"Store files, sealed before they leave this machine, and get them back (docs/client.md):

  FSN_URL={base} {program} init --local --bucket my-files
  {program} put README.md my-files/ && {program} cat my-files/README.md | cmp - README.md && echo same

"#
    )
}

/// Where things are and what to try next, ready to be copied into a terminal.
fn summary(cluster: &Cluster, dir_flag: &str) -> Result<String> {
    let status = cluster.status()?;
    let base = &status.base_url;
    let nodes = status.nodes.len();
    let nodes = if nodes == 1 {
        "1 storage node".to_owned()
    } else {
        format!("{nodes} storage nodes")
    };
    let coordinators = match status.coordinators.as_slice() {
        [_] => "a coordinator".to_owned(),
        several => format!("{} coordinators", several.len()),
    };
    let others = status.coordinators.iter().skip(1);
    let others: String = others
        .map(|other| {
            format!(
                "\n               {}/api/v1   ({})",
                other.base_url, other.name
            )
        })
        .collect();
    Ok(format!(
        r#"
The network is up: {coordinators}, Postgres and {nodes}.

  API          {base}/api/v1   (documentation: {base}/docs){others}
  metrics      {metrics}
  user         {email}   password {password}   (has credits)
  directory    {dir}   (logs in logs/)

{fsn}See a file survive the loss of a node, and a node that cheats be caught:

  scripts/local-cluster demo{dir_flag}

Or do it by hand, with a user of your own:

  curl -sSw '\n' {base}/api/v1/auth/register -d '{{"email":"you@example.com","password":"correct horse"}}'
  TOKEN=$(curl -sS {base}/api/v1/auth/login -d '{{"email":"you@example.com","password":"correct horse"}}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -sSw '\n' {base}/api/v1/auth/credits/purchase -H "Authorization: Bearer $TOKEN" -d '{{"amount_usd":10}}'
  FILE=$(curl -sS -T README.md "{base}/api/v1/files?filename=README.md" -H "Authorization: Bearer $TOKEN" | sed 's/.*"file_id":"\([^"]*\)".*/\1/')
  curl -sS {base}/api/v1/files/$FILE/download -H "Authorization: Bearer $TOKEN" | cmp - README.md && echo same

And then:

  scripts/local-cluster status{dir_flag}
  scripts/local-cluster kill node-1{dir_flag}     # stop, pause, resume, start likewise
  scripts/local-cluster down{dir_flag}            # --wipe also removes all data
"#,
        fsn = with_fsn(&cluster.programs().fsn, base),
        metrics = status.metrics_url.as_deref().unwrap_or("-"),
        email = status.user.email,
        password = status.user.password,
        dir = cluster.dir().display(),
    ))
}
