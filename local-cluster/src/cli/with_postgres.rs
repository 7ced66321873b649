//! `local-cluster with-postgres -- COMMAND`: for test scripts.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result};
use local_cluster::TemporaryPostgres;

/// Runs the command and passes its exit code on. The database is gone afterwards, however this ends.
pub(super) async fn run(command: &[OsString]) -> Result<ExitCode> {
    let (program, args) = command.split_first().context("no command to run")?;
    let postgres = TemporaryPostgres::start().await?;
    let status = tokio::process::Command::new(program)
        .args(args)
        .env("DATABASE_URL", postgres.url())
        .env("PATH", postgres.path()?)
        .status()
        .await
        .with_context(|| format!("cannot run {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
