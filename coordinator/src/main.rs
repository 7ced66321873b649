use std::process::ExitCode;

use clap::Parser;
use coordinator::cli::Cli;
use kit::broken_pipe;

#[tokio::main]
async fn main() -> ExitCode {
    broken_pipe::install();
    match Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coordinator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
