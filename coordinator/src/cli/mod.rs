//! The command line: what can be said, and what each command does.

mod admin_events;
mod admin_file;
mod admin_jobs;
mod admin_node;
mod admin_purges;
mod admin_reconcile;
mod admin_repair;
mod admin_user;
mod keys;
mod ledger;
mod restore;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use evidence_check::VerifyEvidence;

use self::keys::KeysCommand;
use self::ledger::{LedgerCommand, VerifyLedger};
use self::restore::RestoreCommand;
use crate::config::Config;
use crate::database::Pool;
use crate::fleet::node_tokens;
use crate::keys::network_document;
use crate::security::{self, Asked, Event, EventKind, Outcome};
use crate::{accounts, database};
use kit::config::{Reloader, refuse_secrets, variable};
use kit::{Clock, Entropy};

use crate::{keys as key_files, local_request, serve};
use model::names::Email;
use model::user::Role;

const EXIT_CODES: &str = "Exit codes: 0 all is well; 1 it failed, or something that was checked is not as it should be; 2 the \
                          command line is wrong; 141 nobody read the output";

const EXAMPLES: &str = "Examples:
  coordinator config --template > coordinator.toml
  coordinator config --check coordinator.toml
  coordinator serve --config coordinator.toml
  coordinator admin node list --state suspended
  coordinator admin jobs --json
  coordinator ledger verify

Exit codes:
  0    all is well
  1    it failed, or something that was checked is not as it should be
  2    the command line is wrong
  141  nobody read the output

Where JSON is asked for (--output json, --json), an error is a JSON document on standard error, too.";

/// The coordinator of a federated storage network.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version, propagate_version = true, after_help = EXIT_CODES, after_long_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Settings {
    /// Settings file (TOML); `coordinator config` prints a template [env: FSN_CONFIG]
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Overrides one setting; may be repeated.
    #[arg(long = "set", global = true, value_name = "TABLE.KEY=VALUE")]
    overrides: Vec<String>,
}

impl Settings {
    fn load(&self) -> anyhow::Result<Config> {
        refuse_secrets(&self.overrides)?;
        Config::load(self.file().as_deref(), &self.overrides)
    }

    fn file(&self) -> Option<PathBuf> {
        let named = || variable("FSN_CONFIG").map(PathBuf::from);
        self.config.clone().or_else(named)
    }

    fn reloader(self) -> anyhow::Result<Reloader> {
        Config::reloader(self.file(), self.overrides)
    }

    fn show(&self) -> anyhow::Result<String> {
        Config::show(self.file().as_deref(), &self.overrides)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the API and command the fleet, until SIGTERM or Ctrl-C.
    Serve {
        #[command(flatten)]
        settings: Settings,
        /// Do not migrate the database; fail if its schema is old.
        #[arg(long)]
        no_migrate: bool,
        /// Write the addresses in use to this file (JSON) once everything is ready.
        #[arg(long, value_name = "FILE")]
        ready_file: Option<PathBuf>,
    },
    /// Bring the database schema up to date.
    Migrate {
        #[command(flatten)]
        settings: Settings,
    },
    /// Look at and change what the API does not let anybody change.
    Admin {
        #[command(flatten)]
        settings: Settings,
        #[command(subcommand)]
        command: AdminCommand,
    },
    /// Ask the coordinator that runs on this machine whether it can serve; exits with 1 when not.
    Health {
        #[command(flatten)]
        settings: Settings,
    },
    /// Check receipts, proofs, opened blobs and verdicts offline: no network, no database, no trust in anybody.
    VerifyEvidence(Box<VerifyEvidence>),
    /// Verify an exported ledger offline, against heads of days that nodes have kept: no network, no database,
    /// no trust in anybody.
    VerifyLedger(VerifyLedger),
    /// See which keys there are, and rotate them while everything runs.
    Keys {
        #[command(flatten)]
        settings: Settings,
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// After a restore of the database, find again what was moved since the backup.
    #[command(alias = "adopt")]
    Restore {
        #[command(flatten)]
        settings: Settings,
        #[command(subcommand)]
        command: RestoreCommand,
    },
    /// Check the ledger, or write it out.
    Ledger {
        #[command(flatten)]
        settings: Settings,
        #[command(subcommand)]
        command: LedgerCommand,
    },
    /// Print a commented settings file with every default.
    #[command(args_conflicts_with_subcommands = true)]
    Config {
        #[command(subcommand)]
        command: Option<ConfigCommand>,
        /// The default; here for those who type it.
        #[arg(long, conflicts_with = "check")]
        template: bool,
        /// Check this settings file (and the environment) instead.
        #[arg(long, value_name = "FILE")]
        check: Option<PathBuf>,
    },
    /// Print completions for a shell.
    Completions { shell: clap_complete::Shell },
    /// Write the manual pages of all commands into a directory.
    Man {
        /// Such as /usr/local/share/man/man1
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the settings that hold now, and which source each comes from. Secrets are hidden.
    Show {
        #[command(flatten)]
        settings: Settings,
    },
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Storage nodes: list, look, suspend, restore, remove.
    Node {
        #[command(subcommand)]
        command: admin_node::NodeCommand,
    },
    /// The security log: who did, or tried, what, from where.
    Events {
        #[command(subcommand)]
        command: admin_events::EventsCommand,
    },
    /// Background jobs of the coordinator on this machine: last run, last error, backlog.
    Jobs {
        /// For programs: one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Deletions: nodes that have put them off, and their undo.
    Purges {
        #[command(subcommand)]
        command: admin_purges::PurgesCommand,
    },
    /// Repair of lost replicas: look, end a hold.
    Repair {
        #[command(subcommand)]
        command: admin_repair::RepairCommand,
    },
    /// What nodes hold beside what the database names on them.
    Reconcile {
        #[command(subcommand)]
        command: admin_reconcile::ReconcileCommand,
    },
    /// Admission tokens for storage nodes.
    NodeToken {
        #[command(subcommand)]
        command: NodeTokenCommand,
    },
    /// The coordinators that the network document names.
    Coordinators {
        #[command(subcommand)]
        command: CoordinatorsCommand,
    },
    /// Files, whoever owns them: look, take down.
    File {
        #[command(subcommand)]
        command: admin_file::FileCommand,
    },
    /// Accounts: list, look, suspend, credit, close, let them add nodes.
    User {
        #[command(subcommand)]
        command: admin_user::UserCommand,
    },
    /// Change what an account may do.
    SetRole { email: String, role: RoleArgument },
}

#[derive(Debug, Subcommand)]
enum NodeTokenCommand {
    /// Make a token that lets one node in. It is shown once.
    Create {
        /// The account whose node it will be; without it the node is its own operator
        #[arg(long, value_name = "EMAIL")]
        operator: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum CoordinatorsCommand {
    /// List them, with the addresses that nodes dial.
    List,
    /// Take one out that is gone for good. Needs the network key, so it is run beside `keys.dir`.
    Remove { peer_id: String },
}

/// How a command shows what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArgument {
    User,
    Admin,
}

impl Cli {
    pub async fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve {
                settings,
                no_migrate,
                ready_file,
            } => {
                let config = settings.load()?;
                kit::logging::init(&config.log)?;
                for name in Config::unknown_variables() {
                    tracing::warn!(
                        "the environment variable {name} is no setting and has no effect"
                    );
                }
                for warning in config.warnings() {
                    tracing::warn!("{warning}");
                }
                let reloader = settings.reloader()?;
                Box::pin(serve::run(config, reloader, !no_migrate, ready_file)).await
            }
            Command::Migrate { settings } => {
                let config = settings.load()?;
                let pool = connect(&config).await?;
                database::migrate(&pool).await?;
                println!("The database schema is up to date.");
                Ok(())
            }
            Command::Admin { settings, command } => {
                let config = settings.load()?;
                let pool = connect(&config).await?;
                database::check_schema(&pool).await?;
                if command.only_looks_here() {
                    return command.run(&config, &pool).await;
                }
                let said = format!("admin {command:?}");
                logged(&pool, &said, Box::pin(command.run(&config, &pool))).await
            }
            Command::Health { settings } => {
                let config = settings.load()?;
                println!("{}", local_request::health(config.http.listen).await?);
                Ok(())
            }
            Command::Config {
                command: Some(ConfigCommand::Show { settings }),
                ..
            } => {
                print!("{}", settings.show()?);
                Ok(())
            }
            Command::Restore { settings, command } => {
                let config = settings.load()?;
                let pool = connect(&config).await?;
                database::check_schema(&pool).await?;
                let said = format!("restore {command:?}");
                logged(&pool, &said, Box::pin(command.run(&pool))).await
            }
            Command::Ledger { settings, command } => {
                let config = settings.load()?;
                let pool = connect(&config).await?;
                database::check_schema(&pool).await?;
                command.run(&pool).await
            }
            Command::Keys { settings, command } => {
                let config = settings.load()?;
                let pool = connect(&config).await?;
                database::check_schema(&pool).await?;
                let said = format!("keys {command:?}");
                logged(&pool, &said, Box::pin(command.run(&config, &pool))).await
            }
            Command::Config { check: None, .. } => {
                print!("{}", Config::template());
                Ok(())
            }
            Command::Config {
                check: Some(file), ..
            } => {
                for name in Config::unknown_variables() {
                    eprintln!("the environment variable {name} is no setting and has no effect");
                }
                let config = Config::load(Some(&file), &[])?;
                // What has no default, and `serve` needs.
                config.database_url()?;
                for warning in config.warnings() {
                    eprintln!("{warning}");
                }
                println!("{} is good.", file.display());
                Ok(())
            }
            Command::VerifyEvidence(evidence) => Box::pin(evidence.run()).await,
            Command::VerifyLedger(ledger) => ledger.run(),
            Command::Man { dir } => {
                clap_mangen::generate_to(Self::command(), &dir)
                    .with_context(|| format!("cannot write to {}", dir.display()))?;
                println!("The manual pages are in {}.", dir.display());
                Ok(())
            }
            Command::Completions { shell } => {
                let mut command = Self::command();
                let mut script: Vec<u8> = Vec::new();
                clap_complete::generate(shell, &mut command, "coordinator", &mut script);
                print!("{}", String::from_utf8(script)?);
                Ok(())
            }
        }
    }
}

async fn connect(config: &Config) -> anyhow::Result<Pool> {
    database::connect(config.database_url()?, &config.database).await
}

/// Runs a command and records it in the security log, with how it ended.
async fn logged(
    pool: &Pool,
    command: &str,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let operator = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let asked = Asked::of_command(operator.as_deref().unwrap_or("somebody"));
    let done = async {
        let ended = work.await;
        let event = Event {
            kind: EventKind::AdminCommand,
            outcome: match ended {
                Ok(()) => Outcome::Done,
                Err(_) => Outcome::Refused,
            },
            user: None,
            subject: Some(command),
        };
        let recorded = async {
            let mut connection = pool.acquire().await?;
            security::record(&mut connection, event).await
        };
        let recorded = recorded.await;
        ended?; // what went wrong first is what is told
        recorded.context("the command did its work, and could not be written to the security log")
    };
    asked.scope(done).await
}

impl AdminCommand {
    /// Programs ask this all the time, and it changes nothing.
    const fn only_looks_here(&self) -> bool {
        matches!(self, Self::Jobs { .. } | Self::Events { .. })
    }

    async fn run(self, config: &Config, pool: &Pool) -> anyhow::Result<()> {
        match self {
            Self::Node { command } => command.run(pool).await,
            Self::Events { command } => command.run(pool).await,
            Self::Jobs { json } => admin_jobs::show(config.metrics.listen, json).await,
            Self::Purges { command } => command.run(pool).await,
            Self::Repair { command } => command.run(pool).await,
            Self::Reconcile { command } => command.run(pool).await,
            Self::File { command } => command.run(pool).await,
            Self::User { command } => command.run(config, pool).await,
            Self::NodeToken {
                command: NodeTokenCommand::Create { operator },
            } => {
                let mut connection = pool.acquire().await?;
                let operator = match operator {
                    Some(email) => {
                        let users = accounts::tables::users::node_right_of(&mut connection, &email);
                        let Some(right) = users.await? else {
                            bail!("nobody is registered as {email}");
                        };
                        Some(right.user_id)
                    }
                    None => None,
                };
                let (token, expires_at) = node_tokens::create(
                    &mut connection,
                    operator,
                    Clock::system().now(),
                    &mut Entropy::system().rng(),
                )
                .await?;
                println!("{}", token.as_str());
                eprintln!("Good for one node until {expires_at}: storage-node init --token <it> …");
                Ok(())
            }
            Self::Coordinators {
                command: CoordinatorsCommand::List,
            } => {
                let mut connection = pool.acquire().await?;
                for coordinator in key_files::tables::network::coordinators(&mut connection).await?
                {
                    println!("{}  {}", coordinator.peer_id, coordinator.addrs.join(" "));
                }
                Ok(())
            }
            Self::Coordinators {
                command: CoordinatorsCommand::Remove { peer_id },
            } => {
                let keys =
                    key_files::open(&config.keys.dir, pool, &mut Entropy::system().rng()).await?;
                network_document::remove(pool, &keys, &peer_id, Clock::system().now()).await?;
                println!("{peer_id} is out of the network document.");
                Ok(())
            }
            Self::SetRole { email, role } => {
                let role = match role {
                    RoleArgument::User => Role::User,
                    RoleArgument::Admin => Role::Admin,
                };
                let mut transaction = pool.begin().await?;
                let address = Email::try_from(email.clone())?;
                let users = accounts::tables::users::credentials(&mut transaction, &address);
                let found = users.await?;
                let Some((user, ..)) = found else {
                    bail!("nobody is registered as {email}");
                };
                accounts::tables::users::set_role(&mut transaction, user, role).await?;
                let event = Event::done(EventKind::RoleChanged, user).of(role.name());
                security::record(&mut transaction, event).await?;
                transaction.commit().await?;
                println!("{email} is now {}.", role.name());
                Ok(())
            }
        }
    }
}
