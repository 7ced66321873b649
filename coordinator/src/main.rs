use std::process::ExitCode;

use clap::Parser;
use coordinator::cli::Cli;
use kit::printing;

const PROGRAM: &str = "coordinator";

#[tokio::main]
async fn main() -> ExitCode {
    printing::install(PROGRAM);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(told) => return printing::usage(PROGRAM, told.print(), told.exit_code()),
    };
    let outcome = Box::pin(cli.run()).await.map(|()| ExitCode::SUCCESS);
    printing::finish(PROGRAM, outcome)
}
