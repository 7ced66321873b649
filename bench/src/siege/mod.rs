//! `bench siege`: everything at once that has stopped a network for others, while one honest user stores and reads files.
//!
//! The attackers sit at other addresses than he does, with the settings that a coordinator has by itself. What they get
//! out of it is counted; what counts is what he notices: no failure, and a second at most for 99 of 100 transfers.
//!
//! Each attack is a file: it goes on until it is dropped, and fails only when it could not be begun.

mod evidence_slots;
mod guilty_names;
mod honest;
mod outsider;
mod port_scan;
mod preface_byte;
mod report;
mod silent_peers;
mod stalled_downloads;
mod starved_uploads;
mod table_growth;
mod tally;
mod wrong_passwords;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use local_cluster::{TemporaryCluster, UpOptions};
use serde::Serialize;
use tokio::sync::oneshot;

pub(crate) use self::report::Report;

use self::honest::Honest;
use self::outsider::Outsider;
use self::tally::Tally;
use crate::narrate;

/// Credits that an attacker buys where his attack takes some.
const ATTACKERS_USD: u32 = 100;
const HONEST_USD: u32 = 1000;

/// The least that a thread can have.
const NICE: i32 = 19;

/// How an attack came to its end, which none does by itself.
type Ended = (Attack, Result<()>);

#[derive(Debug, clap::Args)]
pub(crate) struct SiegeBench {
    /// How long it goes on
    #[arg(long, default_value_t = 60.0, value_name = "S")]
    seconds: f64,
    #[arg(long, default_value_t = 5, value_name = "N")]
    nodes: usize,
    /// Not all attacks but these
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,…")]
    attacks: Vec<Attack>,
    /// What 99 of 100 of the honest user's transfers may take at most
    #[arg(long, default_value_t = 1000.0, value_name = "MS")]
    p99: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Attack {
    /// Uploads that announce a chunk and send nothing of it
    StarvedUploads,
    /// Connections that begin like HTTP/2 and say no more
    PrefaceByte,
    /// Connections to the peers' port that say nothing
    SilentPeers,
    /// Small files with names as long as they get, beside those of others
    GuiltyNames,
    /// Logins as the honest user, with other passwords
    WrongPasswords,
    /// Tokens, sessions and purchases without end
    TableGrowth,
    /// Peers that ask nodes and coordinators to dial an address in their own network
    PortScan,
    /// Proofs, asked for by many accounts without a pause
    EvidenceSlots,
    /// Downloads that nobody reads
    StalledDownloads,
}

impl SiegeBench {
    pub(crate) async fn run(&self) -> Result<Report> {
        ensure!(self.seconds > 0.0, "--seconds must be above 0");
        ensure!(self.nodes >= 3, "three replicas need --nodes 3 or more");
        narrate("Starting a local cluster.");
        let cluster = TemporaryCluster::start(UpOptions {
            nodes: Some(self.nodes),
            // What a coordinator has by itself, where a local cluster lets one address do more.
            overrides: Some(outsider::DEFAULTS.parse()?),
            ..UpOptions::default()
        })
        .await?;
        let honest = Honest::new(&cluster, HONEST_USD).await?;
        let chosen = match &self.attacks[..] {
            [] => Attack::value_variants(),
            some => some,
        };

        let (mut attackers, mut tallies) = (Vec::new(), Vec::new());
        for attack in chosen.iter().copied() {
            let tally = Tally::default();
            tallies.push((attack, tally.clone()));
            attackers.push((attack, Outsider::of(&cluster, attack as u8)?, tally));
        }
        narrate(&format!(
            "{} attacks for {} s, and one honest user.",
            chosen.len(),
            self.seconds
        ));
        let length = Duration::from_secs_f64(self.seconds);
        let began = Instant::now();
        let mut attacked = elsewhere(attackers)?;
        let work = tokio::select! {
            work = honest.work(length) => work?,
            ended = &mut attacked => {
                let (attack, outcome) = ended.context("the attackers' thread has ended")?;
                outcome.with_context(|| format!("{attack:?} could not be begun"))?;
                anyhow::bail!("{attack:?} has ended by itself");
            }
        };
        Ok(Report::new(began.elapsed(), self.p99, work, &tallies))
    }
}

/// Has them attack until the receiver is dropped, which is told of the first that ends. On a thread that gets what the others
/// leave of the processors: attackers have computers of their own.
fn elsewhere(attackers: Vec<(Attack, Outsider, Tally)>) -> Result<oneshot::Receiver<Ended>> {
    let (tell, told) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("attackers".to_owned())
        .spawn(move || {
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                narrate(&format!(
                    "The attackers run beside the network as its equals: {error}."
                ));
            }
            runtime.block_on(attack_all(attackers, tell));
        })?;
    Ok(told)
}

async fn attack_all(attackers: Vec<(Attack, Outsider, Tally)>, mut tell: oneshot::Sender<Ended>) {
    let attacks =
        attackers
            .into_iter()
            .map(|(attack, outsider, tally)| async move {
                (attack, attack.run(&outsider, &tally).await)
            });
    let mut attacks: FuturesUnordered<_> = attacks.collect();
    let ended = tokio::select! {
        () = tell.closed() => return,
        Some(ended) = attacks.next() => ended,
    };
    // Whoever is not told any more does not want to know.
    let _ = tell.send(ended);
}

impl Attack {
    async fn run(self, outsider: &Outsider, tally: &Tally) -> Result<()> {
        match self {
            Self::StarvedUploads => starved_uploads::run(outsider, tally).await,
            Self::PrefaceByte => preface_byte::run(outsider, tally).await,
            Self::SilentPeers => silent_peers::run(outsider, tally).await,
            Self::GuiltyNames => guilty_names::run(outsider, tally).await,
            Self::WrongPasswords => wrong_passwords::run(outsider, tally).await,
            Self::TableGrowth => table_growth::run(outsider, tally).await,
            Self::PortScan => port_scan::run(outsider, tally).await,
            Self::EvidenceSlots => evidence_slots::run(outsider, tally).await,
            Self::StalledDownloads => stalled_downloads::run(outsider, tally).await,
        }
    }
}
