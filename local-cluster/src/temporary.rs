//! Clusters and databases that end with the process that started them, and leave nothing behind.

use std::ffi::OsString;
use std::ops::{Deref, DerefMut};

use anyhow::Result;

use crate::cluster::{Cluster, UpOptions};
use crate::files;
use crate::postgres::{self, PostgresRecord};
use crate::programs::Programs;
use crate::reaper::TemporaryDir;
use crate::secret::new_secret;

/// A cluster on any free port.
#[derive(Debug)]
pub struct TemporaryCluster {
    cluster: Cluster,
    _dir: TemporaryDir,
}

impl TemporaryCluster {
    /// Starts it, and returns when files can be stored.
    pub async fn start(options: UpOptions) -> Result<Self> {
        let mut temporary = Self::prepare(options)?;
        temporary.cluster.bring_up(&|_| ()).await?;
        Ok(temporary)
    }

    /// Only makes the directory: nothing is started yet.
    pub fn prepare(options: UpOptions) -> Result<Self> {
        let programs = Programs::beside_this_one()?;
        programs.check()?;
        let dir = TemporaryDir::new(&programs.local_cluster)?;
        let options = UpOptions {
            http_port: Some(options.http_port.unwrap_or(0)),
            ..options
        };
        let random = &mut kit::Entropy::system().rng();
        let cluster = Cluster::prepare(dir.path(), programs, options, random, &|_| ())?;
        Ok(Self { cluster, _dir: dir })
    }
}

impl Deref for TemporaryCluster {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl DerefMut for TemporaryCluster {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }
}

/// A Postgres alone, without fsync.
#[derive(Debug)]
pub struct TemporaryPostgres {
    record: PostgresRecord,
    _dir: TemporaryDir,
}

impl TemporaryPostgres {
    pub async fn start() -> Result<Self> {
        let programs = Programs::beside_this_one()?;
        let dir = TemporaryDir::new(&programs.local_cluster)?;
        files::create_dir(&dir.path().join("logs"))?;
        let password = new_secret(&mut kit::Entropy::system().rng());
        let mut record = PostgresRecord::new(dir.path(), password, false)?;
        postgres::start(&mut record, false, dir.path(), &programs).await?;
        Ok(Self { record, _dir: dir })
    }

    /// PATH with Postgres' own programs added.
    pub fn path(&self) -> Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).chain([postgres::programs_dir()?]);
        Ok(std::env::join_paths(places)?)
    }

    /// For a database client, and for `DATABASE_URL`.
    pub fn url(&self) -> String {
        self.record.url()
    }
}
