//! `storage-node`: gives disk space to a federated storage network.

use std::process::ExitCode;

use clap::Parser;
use kit::printing;
use storage_node::{Cli, run};

const PROGRAM: &str = "storage-node";

fn main() -> ExitCode {
    printing::install(PROGRAM);
    match Cli::try_parse() {
        Ok(cli) => printing::finish(PROGRAM, run(cli)),
        Err(told) => printing::usage(PROGRAM, told.print(), told.exit_code()),
    }
}
