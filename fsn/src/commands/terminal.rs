//! What is asked of a person. Where there is nobody, nothing is asked, and what is missing is said.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};

use anyhow::{Context, Result};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::exit;
use crate::show::harmless;

pub(super) fn is_there() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// A line of text.
pub(super) fn ask(question: &str, missing: &str) -> Result<String> {
    demand(missing)?;
    eprint!("{}: ", harmless(question));
    stderr().flush()?;
    let mut line = String::new();
    stdin()
        .lock()
        .read_line(&mut line)
        .context("nothing was typed")?;
    Ok(line.trim().to_owned())
}

/// `FSN_PASSWORD`, or a line that is not shown.
pub(super) fn password(question: &str) -> Result<Zeroizing<String>> {
    if let Ok(password) = std::env::var("FSN_PASSWORD") {
        return Ok(Zeroizing::new(password));
    }
    demand("put the password into FSN_PASSWORD")?;
    eprint!("{}: ", harmless(question));
    stderr().flush()?;
    let before = tcgetattr(stdin())?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(stdin(), OptionalActions::Flush, &silent)?;
    let mut line = Zeroizing::new(String::new());
    let read = stdin().lock().read_line(&mut line);
    tcsetattr(stdin(), OptionalActions::Flush, &before)?;
    eprintln!();
    read.context("nothing was typed")?;
    Ok(Zeroizing::new(
        line.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

fn demand(missing: &str) -> Result<()> {
    match is_there() {
        true => Ok(()),
        false => Err(exit::ended(
            exit::USAGE,
            format!("there is no terminal to ask at: {missing}"),
        )),
    }
}
