//! One user who stores files and reads them again, logs in now and then, and asks for a proof.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use local_cluster::Cluster;
use local_cluster::client::{ApiError, Endpoint, Session};
use proto::FileId;

use super::evidence_slots;

const SMALL: usize = 16 * 1024;
const LARGE: usize = 2 * 1024 * 1024;
const PAUSE: Duration = Duration::from_millis(50);
/// Below the 12 proofs and the 30 logins a minute that an account has.
const SELDOM: Duration = Duration::from_secs(6);

pub(super) struct Honest {
    session: Session,
    client: Endpoint,
    email: String,
    password: String,
}

/// What he has done.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub what: &'static str,
    /// A transfer is to be quick, and all else to succeed.
    pub is_transfer: bool,
    pub took: Vec<Duration>,
    pub failures: Vec<String>,
}

impl Done {
    fn new(what: &'static str, is_transfer: bool) -> Self {
        Self {
            what,
            is_transfer,
            ..Self::default()
        }
    }

    async fn note<T>(&mut self, work: impl Future<Output = Result<T, String>>) -> Option<T> {
        let began = Instant::now();
        match work.await {
            Ok(outcome) => {
                self.took.push(began.elapsed());
                Some(outcome)
            }
            Err(error) => {
                self.failures.push(error);
                None
            }
        }
    }
}

impl Honest {
    pub(super) async fn new(cluster: &Cluster, credits_usd: u32) -> Result<Self> {
        let user = &cluster.record().user;
        let session = cluster.session().await?;
        session.purchase(credits_usd).await?;
        let honest = Self {
            session,
            client: cluster.client()?,
            email: user.email.clone(),
            password: user.password.clone(),
        };
        // Connections and caches as in the middle of work.
        honest.store(SMALL, 0).await.map_err(anyhow::Error::msg)?;
        Ok(honest)
    }

    pub(super) async fn work(&self, length: Duration) -> Result<Vec<Done>> {
        let until = Instant::now() + length;
        let (small, large, seldom) = tokio::join!(
            self.transfers(SMALL, "small file up", "small file down", until),
            self.transfers(LARGE, "large file up", "large file down", until),
            self.seldom(until)
        );
        Ok(small.into_iter().chain(large).chain(seldom?).collect())
    }

    async fn transfers(
        &self,
        size: usize,
        up: &'static str,
        down: &'static str,
        until: Instant,
    ) -> [Done; 2] {
        let (mut ups, mut downs) = (Done::new(up, true), Done::new(down, true));
        for round in 1_u64.. {
            if let Some(file) = ups.note(self.store(size, round)).await {
                downs.note(self.fetch(file, size, round)).await;
            }
            if Instant::now() >= until {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        [ups, downs]
    }

    async fn seldom(&self, until: Instant) -> Result<[Done; 2]> {
        let (mut logins, mut proofs) = (Done::new("login", false), Done::new("proof", false));
        let file = self.store(LARGE, u64::MAX).await;
        let file = file
            .map_err(anyhow::Error::msg)
            .context("a file to be proven")?;
        loop {
            let login = self.client.login(&self.email, &self.password);
            logins.note(async { login.await.map_err(text) }).await;
            let proof = async {
                match evidence_slots::ask(&self.session, file).await {
                    status if status == "200" => Ok(()),
                    status => Err(status),
                }
            };
            proofs.note(proof).await;
            let now = Instant::now();
            if now + SELDOM >= until {
                break;
            }
            tokio::time::sleep(SELDOM).await;
        }
        Ok([logins, proofs])
    }

    async fn store(&self, size: usize, round: u64) -> Result<FileId, String> {
        let content = content(size, round);
        let stored = self.session.upload("honest", Some(size as u64), content);
        stored.await.map(|file| file.file_id).map_err(text)
    }

    async fn fetch(&self, file: FileId, size: usize, round: u64) -> Result<(), String> {
        let fetched = self.session.download(file).await.map_err(text)?;
        if fetched != content(size, round) {
            return Err("other bytes came back".to_owned());
        }
        Ok(())
    }
}

fn text(error: ApiError) -> String {
    error.to_string()
}

fn content(size: usize, round: u64) -> Bytes {
    let mut bytes = vec![0; size];
    blake3::Hasher::new()
        .update(&round.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes.into()
}
