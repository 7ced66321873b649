//! The commands, and what each is called with.

mod account;
mod doctor;
mod get;
mod init;
mod list;
mod manage;
mod put;
mod terminal;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use client::{Client, ClientConfig};

use crate::exit;
use crate::profile::{self, Profile};
use crate::show::Show;

/// Store files in a federated storage network and get them back: sealed before they leave this machine.
#[derive(Debug, Parser)]
#[command(name = "fsn", version, after_help = exit::CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The coordinator, like `https://storage.example.com`; several, separated by commas, where one may fail
    #[arg(
        long,
        global = true,
        env = "FSN_URL",
        value_name = "URL",
        value_delimiter = ','
    )]
    url: Vec<String>,
    /// Where this machine's key lies [default: fsn/profile.json in your configuration directory]
    #[arg(long, global = true, env = "FSN_PROFILE", value_name = "FILE")]
    profile: Option<PathBuf>,
    /// How results are shown
    #[arg(long, global = true, value_enum, default_value = "text")]
    output: Output,
    /// Send no more than this in a second, like 40MiB
    #[arg(long, global = true, value_name = "BYTES")]
    limit_up: Option<ByteSize>,
    /// Fetch no more than this in a second
    #[arg(long, global = true, value_name = "BYTES")]
    limit_down: Option<ByteSize>,
    /// No more requests at the same time than this
    #[arg(
        short = 'P',
        long,
        global = true,
        value_name = "N",
        default_value_t = 32
    )]
    parallel: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a profile on this machine: sign in, make a key, make a first bucket
    Init(init::Init),
    /// Store files
    Put(put::Put),
    /// Fetch files
    Get(get::Get),
    /// Print what is stored
    Cat(get::Cat),
    /// List buckets, or what is in one
    Ls(list::Ls),
    /// Delete what is stored
    Rm(manage::Rm),
    /// Rename; no bytes move
    Mv(manage::FromTo),
    /// Copy; no bytes move
    Cp(manage::FromTo),
    /// Show what is known of an object
    Stat(list::Stat),
    /// Show how much lies in a directory
    Du(list::Du),
    /// Make a bucket
    Mb(manage::Mb),
    /// Delete an empty bucket
    Rb(manage::Rb),
    /// Have every copy proven now, and check what the nodes sign; or check what was saved
    Verify(verify::Verify),
    /// Show the account, or its access keys
    Account(account::Account),
    /// Show credits, and what moved them
    Credits(account::Credits),
    /// Look for what is wrong: profile, connection, clock, credit
    Doctor(doctor::Doctor),
    /// Print a script that completes commands in a shell
    Completions { shell: Shell },
    /// Print the manual page, for `man -l -`
    Man,
}

impl Cli {
    pub(crate) fn is_json(&self) -> bool {
        self.global.output == Output::Json
    }
}

/// What a command works with.
struct Connected {
    client: Client,
    show: Arc<Show>,
}

impl Global {
    fn show(&self) -> Arc<Show> {
        Arc::new(Show::new(self.output == Output::Json))
    }

    fn profile(&self) -> Result<Profile> {
        let path = Profile::path(self.profile.as_deref())?;
        let profile = Profile::read(&path)?;
        profile.ok_or_else(|| {
            exit::ended(
                exit::SIGN_IN,
                format!(
                    "there is no profile at {}: `fsn init --url URL` makes one, or `fsn init --local` for a network on \
                     this machine",
                    path.display()
                ),
            )
        })
    }

    /// Writes down what a command has changed.
    fn change_profile(&self, change: impl FnOnce(&mut Profile)) -> Result<()> {
        let mut profile = self.profile()?;
        change(&mut profile);
        profile.write(&Profile::path(self.profile.as_deref())?)
    }

    fn connect(&self) -> Result<Connected> {
        let profile = self.profile()?;
        let mut config = ClientConfig::new("", profile.credentials());
        config.urls = match self.url.is_empty() {
            true => profile.urls.clone(),
            false => self.url.clone(),
        };
        config.root = Some(profile.root()?);
        config.sealed_buckets = profile.sealed().clone();
        config.limit_up = self.limit_up.map(|limit| limit.as_u64());
        config.limit_down = self.limit_down.map(|limit| limit.as_u64());
        config.parallel = self.parallel;
        config.state_dir = Some(profile::transfers_dir()?);
        Ok(Connected {
            client: Client::new(config)?,
            show: self.show(),
        })
    }
}

fn print(text: &[u8]) -> Result<()> {
    print!("{}", String::from_utf8_lossy(text));
    Ok(())
}

pub(crate) fn run(cli: Cli) -> Result<()> {
    let Cli { global, command } = cli;
    let interrupted = match &command {
        Command::Put(_) => "interrupted; the same command goes on where this one was",
        _ => "interrupted",
    };
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let work = async {
        match command {
            Command::Init(init) => init.run(&global).await,
            Command::Put(put) => put.run(&global.connect()?).await,
            Command::Get(get) => get.run(&global.connect()?).await,
            Command::Cat(cat) => cat.run(&global.connect()?).await,
            Command::Ls(ls) => ls.run(&global.connect()?).await,
            Command::Rm(rm) => rm.run(&global.connect()?).await,
            Command::Mv(mv) => mv.rename(&global.connect()?).await,
            Command::Cp(cp) => cp.copy(&global.connect()?).await,
            Command::Stat(stat) => stat.run(&global.connect()?).await,
            Command::Du(du) => du.run(&global.connect()?).await,
            Command::Mb(mb) => mb.run(&global).await,
            Command::Rb(rb) => rb.run(&global).await,
            Command::Verify(verify) => verify.run(&global).await,
            Command::Account(account) => account.run(&global.connect()?).await,
            Command::Credits(credits) => credits.run(&global.connect()?).await,
            Command::Doctor(doctor) => doctor.run(&global).await,
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "fsn", &mut script);
                print(&script)
            }
            Command::Man => {
                let mut page = Vec::new();
                clap_mangen::Man::new(Cli::command()).render(&mut page)?;
                print(&page)
            }
        }
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = work => outcome,
            _ = tokio::signal::ctrl_c() => Err(exit::ended(exit::INTERRUPTED, interrupted)),
        }
    });
    // What still reads or seals a piece is not waited for.
    runtime.shutdown_background();
    outcome
}
