//! The commands, and what each is called with.

mod cheat;
mod control;
mod demo;
mod down;
mod holdings;
mod sha256;
mod status;
mod up;
mod with_postgres;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use local_cluster::process::ProcessId;
use local_cluster::{Afterwards, run_launcher, run_reaper, run_reaper_until};

/// A federated storage network on this machine: Postgres, a coordinator and storage nodes.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start what is not running, in the background; return when files can be stored
    Up(up::Up),
    /// Show what is running where
    Status(status::StatusCommand),
    /// Store a file, kill a node that holds part of it, get the file back; then catch a node that cheats
    Demo(demo::Demo),
    /// End a process at once (SIGKILL)
    Kill(control::Target),
    /// Ask a process to end (SIGTERM) and wait until it has
    Stop(control::Target),
    /// Freeze a process (SIGSTOP)
    Pause(control::Target),
    /// Let a frozen process go on (SIGCONT)
    Resume(control::Target),
    /// Start a process that is not running
    Start(control::Target),
    /// Stop everything
    Down(down::Down),
    /// Run a command with a temporary Postgres in DATABASE_URL
    #[command(hide = true)]
    WithPostgres {
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    #[command(hide = true)]
    Launch {
        #[arg(long, requires = "gid")]
        uid: Option<u32>,
        #[arg(long)]
        gid: Option<u32>,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    #[command(hide = true)]
    Reaper {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        remove: bool,
        #[arg(long, requires = "started")]
        until_pid: Option<u32>,
        #[arg(long)]
        started: Option<u64>,
    },
}

/// Which cluster.
#[derive(Debug, Args)]
struct DirArg {
    /// The cluster's directory [default: federated-storage/local-cluster in your state directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl DirArg {
    fn path(&self) -> Result<PathBuf> {
        match &self.dir {
            Some(dir) => std::path::absolute(dir).context("--dir is not a path"),
            None => {
                let base = directories::BaseDirs::new()
                    .context("you have no home directory; name a directory with --dir")?;
                let state = base.state_dir().unwrap_or(base.data_local_dir());
                Ok(state.join("federated-storage").join("local-cluster"))
            }
        }
    }

    /// What to add to the commands that are suggested to the user.
    fn flag(&self) -> String {
        match &self.dir {
            Some(dir) => format!(" --dir {}", dir.display()),
            None => String::new(),
        }
    }
}

pub(crate) fn run(cli: Cli) -> Result<ExitCode> {
    // Neither may wait for a runtime: they are started very often and do next to nothing.
    match cli.command {
        Command::Launch { uid, gid, command } => {
            let (program, args) = command.split_first().context("nothing to run")?;
            run_launcher(program.as_ref(), args, uid.zip(gid))?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Reaper {
            dir,
            until_pid: Some(pid),
            started: Some(started),
            ..
        } => {
            run_reaper_until(&dir, ProcessId { pid, started })?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Reaper { dir, remove, .. } => {
            let afterwards = if remove {
                Afterwards::RemoveFiles
            } else {
                Afterwards::KeepFiles
            };
            run_reaper(&dir, afterwards)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(dispatch(cli.command))
}

async fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(up) => up.run().await?,
        Command::Status(status) => status.run()?,
        Command::Demo(demo) => return demo.run().await,
        Command::Kill(target) => target.kill().await?,
        Command::Stop(target) => target.stop().await?,
        Command::Pause(target) => target.pause()?,
        Command::Resume(target) => target.resume()?,
        Command::Start(target) => target.start().await?,
        Command::Down(down) => down.run().await?,
        Command::WithPostgres { command } => return with_postgres::run(&command).await,
        Command::Launch { .. } | Command::Reaper { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Lines about what goes on, apart from the results on standard output.
fn narrate(line: &str) {
    eprintln!("{line}");
}
