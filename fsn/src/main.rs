//! `fsn`: files in, files out, sealed before they leave the machine.

mod commands;
mod exit;
mod profile;
mod remote;
mod show;

use std::process::ExitCode;

use clap::Parser;
use kit::printing;

const PROGRAM: &str = "fsn";

fn main() -> ExitCode {
    printing::install(PROGRAM);
    match commands::Cli::try_parse() {
        Ok(cli) => {
            let is_json = cli.is_json();
            let outcome = commands::run(cli);
            exit::finish(PROGRAM, is_json, outcome)
        }
        Err(told) => printing::usage(PROGRAM, told.print(), told.exit_code()),
    }
}
