//! `storage-node`: gives disk space to a federated storage network.

use std::process::ExitCode;

use clap::Parser;
use kit::broken_pipe;
use storage_node::{Cli, run};

fn main() -> ExitCode {
    broken_pipe::install();
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("storage-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}
