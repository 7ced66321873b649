//! `local-cluster`: a federated storage network on this machine, in one command.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use kit::printing;

const PROGRAM: &str = "local-cluster";

fn main() -> ExitCode {
    printing::install(PROGRAM);
    match cli::Cli::try_parse() {
        Ok(cli) => printing::finish(PROGRAM, cli::run(cli)),
        Err(told) => printing::usage(PROGRAM, told.print(), told.exit_code()),
    }
}
