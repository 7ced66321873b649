//! `local-cluster status`.

use anyhow::Result;
use clap::{Args, ValueEnum};
use kit::output::{plain_table, print_json};
use local_cluster::process::ProcessState;
use local_cluster::{Cluster, Member};

use super::DirArg;

#[derive(Debug, Args)]
pub(super) struct StatusCommand {
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    dir: DirArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

impl StatusCommand {
    pub(super) fn run(self) -> Result<()> {
        let cluster = Cluster::open(&self.dir.path()?)?;
        match self.output {
            Output::Json => print_json(&cluster.status()?)?,
            Output::Text => print!("{}", text(&cluster)?),
        }
        Ok(())
    }
}

fn text(cluster: &Cluster) -> Result<String> {
    let status = cluster.status()?;
    let mut table = plain_table();
    table.set_header(["NAME", "STATE", "PID", "ADDRESS"]);
    for member in cluster.members() {
        let address = match member {
            Member::Postgres => Some(status.postgres.url.clone()),
            Member::Coordinator(number) => Some(status.coordinators[number - 1].base_url.clone()),
            Member::Node(number) => status.nodes[number - 1].admin_url.clone(),
        };
        let process = cluster.process(member)?;
        table.add_row([
            member.to_string(),
            match cluster.state(member)? {
                ProcessState::Running => "running",
                ProcessState::Paused => "paused",
                ProcessState::Gone => "not running",
            }
            .to_owned(),
            process.map_or("-".to_owned(), |process| process.pid.to_string()),
            address.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    let s3 = status.s3.as_ref().map_or_else(
        || "-".to_owned(),
        |s3| {
            format!(
                "{} / {} / {} / {}",
                s3.endpoint, s3.region, s3.access_key, s3.secret_key
            )
        },
    );
    Ok(format!(
        "{table}\n\nuser       {} / {}\ns3         {s3}\nmetrics    {}\ndirectory  {}\nlogs       {}/<name>.log\n",
        status.user.email,
        status.user.password,
        status.metrics_url.as_deref().unwrap_or("-"),
        cluster.dir().display(),
        cluster.dir().join("logs").display(),
    ))
}
