//! What a program prints is printed, or the program says so and fails: a list that ends where the disk was full looks
//! like the whole one. A reader that has seen enough, like `head`, is no failure.
//!
//! `println!` panics when it cannot write, wherever it stands. That is turned into an error here, once for all of them.
//! Rejected: the default of SIGPIPE, which cannot be restored without unsafe code and would end a program that writes
//! to a socket; and a fallible print in every command, which the next one forgets.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::{self, ExitCode};
use std::{any, panic};

/// As if SIGPIPE had ended the program.
const BROKEN_PIPE: i32 = 128 + 13;

/// From here on a line that cannot be printed ends the program: without a word where nobody reads any more, else with what
/// is wrong.
pub fn install(program: &'static str) {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| match failed_print(info.payload()) {
        Some(Stream::Out(reason)) if reason.starts_with("Broken pipe") => reader_gone(),
        Some(Stream::Out(reason)) => fail(program, &reason),
        Some(Stream::Error) => process::exit(1),
        None => report(info),
    }));
}

#[derive(Debug, PartialEq, Eq)]
enum Stream {
    Out(String),
    /// Nobody can be told.
    Error,
}

/// What the macros of the standard library panic with.
fn failed_print(payload: &dyn any::Any) -> Option<Stream> {
    let said = payload.downcast_ref::<String>()?;
    if let Some(reason) = said.strip_prefix("failed printing to stdout: ") {
        return Some(Stream::Out(reason.to_owned()));
    }
    said.starts_with("failed printing to stderr: ")
        .then_some(Stream::Error)
}

/// The end of `main`: an error is told, and what was printed without a line's end is written.
pub fn finish<E: Display>(program: &str, outcome: Result<ExitCode, E>) -> ExitCode {
    written(program, io::stdout().flush());
    match outcome {
        Ok(code) => code,
        Err(error) => {
            if wants_json(std::env::args()) {
                tell_program(program, &error);
            } else {
                tell(program, &error);
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether a program was asked for JSON: then it is read by one, and its errors are JSON, too.
fn wants_json(arguments: impl Iterator<Item = String>) -> bool {
    let arguments: Vec<String> = arguments.take_while(|argument| argument != "--").collect();
    let two = arguments.windows(2).any(|two| two == ["--output", "json"]);
    let one = |argument: &String| ["--output=json", "--json"].contains(&argument.as_str());
    two || arguments.iter().any(one)
}

fn tell_program(program: &str, error: &dyn Display) {
    let document = serde_json::json!({"program": program, "error": format!("{error:#}")});
    let _ = writeln!(io::stderr(), "{document}");
}

/// Ends the program when something could not be written to standard output.
fn written(program: &str, outcome: io::Result<()>) {
    match outcome {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => reader_gone(),
        Err(error) => fail(program, &error),
    }
}

/// The end of `main` where the command line asked for help, or could not be understood, and a library has said so.
pub fn usage(program: &str, printed: io::Result<()>, code: i32) -> ExitCode {
    written(program, printed);
    ExitCode::from(u8::try_from(code).unwrap_or(2))
}

/// As a program ends that nobody listens to any more.
pub fn reader_gone() -> ! {
    process::exit(BROKEN_PIPE)
}

fn fail(program: &str, reason: &dyn Display) -> ! {
    tell(
        program,
        &format_args!("standard output cannot be written: {reason}"),
    );
    process::exit(1)
}

/// Standard error may be as full as standard output.
fn tell(program: &str, error: &dyn Display) {
    let _ = writeln!(io::stderr(), "{program}: {error:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_json_for_whoever_asked_for_json() {
        let wants = |line: &str| wants_json(line.split(' ').map(str::to_owned));
        assert!(wants("storage-node status --output json"));
        assert!(wants("coordinator admin jobs --json"));
        assert!(wants("storage-node status --output=json --check"));
        assert!(!wants("storage-node status --output table"));
        assert!(!wants("storage-node status"));
        assert!(!wants("storage-node status -- --json"));
    }

    #[test]
    fn a_failed_print_is_told_from_other_panics() {
        let said = |text: &str| failed_print(&text.to_owned());
        let full = "No space left on device (os error 28)";
        let out = said(&format!("failed printing to stdout: {full}"));
        assert_eq!(out, Some(Stream::Out(full.to_owned())));
        let error = said(&format!("failed printing to stderr: {full}"));
        assert_eq!(error, Some(Stream::Error));
        assert_eq!(said("index out of bounds"), None);
        assert_eq!(failed_print(&"failed printing to stdout: a literal"), None);
    }
}
