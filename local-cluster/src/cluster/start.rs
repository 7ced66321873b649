//! Starting one member and waiting until it serves.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kit::{Entropy, private_file};
use serde::de::DeserializeOwned;

use super::{Cluster, Member};
use crate::launch::{Launch, Launched};
use crate::record::{CoordinatorReady, NodeReady};
use crate::wait::wait_for;
use crate::{files, ports, postgres, settings};

const READY_WITHIN: Duration = Duration::from_secs(60);

impl Cluster {
    /// Starts a member that is not running; returns when it is ready to serve.
    pub async fn start(&mut self, member: Member) -> Result<()> {
        match member {
            Member::Postgres => self.start_postgres().await,
            Member::Coordinator(number) => self.start_coordinator(number).await,
            Member::Node(number) => {
                let ready = self.start_node(number).await?;
                self.record.nodes[number - 1].ready = Some(ready);
                self.save()
            }
        }
    }

    pub(super) async fn start_postgres(&mut self) -> Result<()> {
        // Whoever is connected knows the address.
        let mut keep_port = false;
        for number in 1..=self.coordinator_count() {
            keep_port |= self.process(Member::Coordinator(number))?.is_some();
        }
        let record = &mut self.record.postgres;
        postgres::start(record, keep_port, &self.dir, &self.programs).await?;
        self.save()
    }

    /// Its addresses are kept, so that a restart has them again.
    pub(super) async fn start_coordinator(&mut self, number: usize) -> Result<()> {
        self.choose_ports(number)?;
        let record = &self.record;
        let member = Member::Coordinator(number);
        let dir = self.member_dir(member);
        let table = settings::coordinator(
            &dir,
            self.coordinator(number),
            &record.postgres.url(),
            &record.overrides,
        )?;
        files::create_dir(&dir)?;
        self.share_keys(number)?;
        let config = self.config_file(member);
        settings::write(&config, &table)?;
        let program = &self.programs.coordinator;
        let ready: CoordinatorReady = self
            .run_until_ready(member, program, "serve", &config)
            .await?;
        let coordinator = &mut self.record.coordinators[number - 1];
        coordinator.http_port = ready.http.port();
        coordinator.metrics = Some(ready.metrics);
        coordinator.s3 = ready.s3.or(coordinator.s3);
        coordinator.p2p = ready.p2p;
        self.save()
    }

    /// A coordinator gets the keys that the others have: all but their own identity.
    fn share_keys(&self, number: usize) -> Result<()> {
        let keys_of = |number| self.member_dir(Member::Coordinator(number)).join("keys");
        let own = keys_of(number);
        for other in (1..=self.coordinator_count()).filter(|other| *other != number) {
            let Ok(keys) = fs::read_dir(keys_of(other)) else {
                continue; // it was never started
            };
            files::create_dir(&own)?;
            for key in keys {
                let key = key?;
                let copy = own.join(key.file_name());
                if key.file_name() != "coordinator.key" && !copy.exists() {
                    fs::copy(key.path(), &copy)
                        .with_context(|| format!("cannot write {}", copy.display()))?;
                }
            }
        }
        Ok(())
    }

    /// Sees that every address of a coordinator is chosen and free. The first one's HTTP port is known
    /// to people, so it being taken is an error; the others are chosen anew.
    pub(super) fn choose_ports(&mut self, number: usize) -> Result<()> {
        let random = &mut Entropy::system().rng();
        let coordinator = &mut self.record.coordinators[number - 1];
        let taken = !ports::is_free(coordinator.http_port);
        if coordinator.http_port == 0 || (taken && number > 1) {
            coordinator.http_port = ports::free_port(random)?;
        } else if taken {
            bail!(
                "port {} on 127.0.0.1 is in use by another program; choose another one with \
                 `local-cluster up --http-port PORT` (0 takes any that is free)",
                coordinator.http_port
            );
        }
        if coordinator
            .metrics
            .is_none_or(|metrics| !ports::is_free(metrics.port()))
        {
            coordinator.metrics = Some(([127, 0, 0, 1], ports::free_port(random)?).into());
        }
        if coordinator.s3.is_none_or(|s3| !ports::is_free(s3.port())) {
            coordinator.s3 = Some(([127, 0, 0, 1], ports::free_port(random)?).into());
        }
        if coordinator.p2p.is_empty() {
            coordinator.p2p = vec![format!("/ip4/127.0.0.1/tcp/{}", ports::free_port(random)?)];
        }
        Ok(())
    }

    /// Registers the node before its first start.
    pub(super) async fn start_node(&self, number: usize) -> Result<NodeReady> {
        let record = &self.record.nodes[number - 1];
        let member = Member::Node(number);
        let dir = self.member_dir(member);
        let url = self.base_url();
        let table = settings::node(&dir, record, &url, &self.record.overrides)?;
        files::create_dir(&dir)?;
        let config = self.config_file(member);
        settings::write(&config, &table)?;
        let program = &self.programs.storage_node;
        if record.ready.is_none() {
            let args = ["init", "--name", &record.name, "--coordinator-url", &url];
            let mut args = args.map(Into::into).to_vec();
            args.push("--config".into());
            args.push(config.clone().into());
            Launch {
                name: &format!("init of {member}"),
                program,
                args,
                account: None,
                log: &self.log(member),
            }
            .start(&self.programs.local_cluster, &self.registry)?
            .finish()
            .await?;
        }
        self.run_until_ready(member, program, "start", &config)
            .await
    }

    async fn run_until_ready<T: DeserializeOwned>(
        &self,
        member: Member,
        program: &Path,
        command: &str,
        config: &Path,
    ) -> Result<T> {
        let ready_file = self.ready_file(member);
        // One that a crash has left behind would be taken for the new one's.
        match fs::remove_file(&ready_file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("cannot remove {}", ready_file.display()));
            }
            _ => {}
        }
        let launched = Launch {
            name: &member.to_string(),
            program,
            args: vec![
                command.into(),
                "--config".into(),
                config.into(),
                "--ready-file".into(),
                ready_file.clone().into(),
            ],
            account: None,
            log: &self.log(member),
        }
        .start(&self.programs.local_cluster, &self.registry)?;
        until_ready(&launched, &ready_file).await
    }
}

async fn until_ready<T: DeserializeOwned>(launched: &Launched, ready_file: &Path) -> Result<T> {
    let name = &launched.name;
    let what = format!("{name} to be ready");
    let outcome = wait_for(what, READY_WITHIN, async || {
        let ended = !launched.process.is_alive();
        match private_file::read_json(ready_file) {
            Ok(Some(ready)) => Some(Ok(ready)),
            Ok(None) if ended => Some(Err(anyhow::anyhow!("{name} has ended while starting"))),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    })
    .await;
    outcome
        .map_err(anyhow::Error::new)
        .flatten()
        .map_err(|error| anyhow::anyhow!("{error:#}; {}", launched.last_words()))
}
