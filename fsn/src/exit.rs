//! How the program ends: scripts go by the code, people by the sentence.

use std::process::ExitCode;

use api::problem::ProblemKind;
use client::{ApiError, Error};
use kit::printing;
use serde_json::json;

use crate::show::harmless;

/// Told on the command line, too: `fsn --help`.
pub(crate) const CODES: &str = "Exit codes: 0 done, 1 something else, 2 usage, 3 sign-in, 4 not found, 5 conflict, \
    6 unavailable for the moment, 7 quota or credits, 8 not what was stored, 130 interrupted";

pub(crate) const USAGE: u8 = 2;
pub(crate) const INTERRUPTED: u8 = 130;
pub(crate) const OTHER: u8 = 1;
pub(crate) const SIGN_IN: u8 = 3;
pub(crate) const NOT_FOUND: u8 = 4;
pub(crate) const CONFLICT: u8 = 5;
pub(crate) const UNAVAILABLE: u8 = 6;
const QUOTA: u8 = 7;
pub(crate) const INTEGRITY: u8 = 8;

/// An end that a command has decided on by itself.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub(crate) struct Ended {
    pub code: u8,
    pub said: String,
}

pub(crate) fn ended(code: u8, said: impl Into<String>) -> anyhow::Error {
    let said = said.into();
    Ended { code, said }.into()
}

fn code(error: &anyhow::Error) -> u8 {
    if let Some(ended) = error.downcast_ref::<Ended>() {
        return ended.code;
    }
    match error.downcast_ref::<Error>() {
        None => match error.downcast_ref::<ApiError>() {
            None => OTHER,
            Some(error) => of_api(error),
        },
        Some(Error::Api(error)) => of_api(error),
        Some(Error::Stalled(_) | Error::WrongLength { .. }) => UNAVAILABLE,
        Some(Error::SourceChanged(_) | Error::UnderWay(_)) => CONFLICT,
        Some(
            Error::WrongKey
            | Error::Damaged { .. }
            | Error::WrongDigest
            | Error::WrongContent
            | Error::ForeignName(_)
            | Error::OtherBucket(_),
        ) => INTEGRITY,
        Some(Error::NoRoot) => SIGN_IN,
        Some(_) => OTHER,
    }
}

fn of_api(error: &ApiError) -> u8 {
    let Some(status) = error.status() else {
        return UNAVAILABLE;
    };
    match (error.kind(), status.as_u16()) {
        (
            Some(
                ProblemKind::KeyUsedUp
                | ProblemKind::TooManyBuckets
                | ProblemKind::TooManyFiles
                | ProblemKind::TooManyUploads
                | ProblemKind::FileTooLarge
                | ProblemKind::InsufficientStorage,
            ),
            _,
        )
        | (_, 402) => QUOTA,
        (_, 401 | 403) => SIGN_IN,
        (_, 404 | 410) => NOT_FOUND,
        (_, 409 | 412) => CONFLICT,
        (_, 408 | 429 | 500..) => UNAVAILABLE,
        _ => OTHER,
    }
}

pub(crate) fn finish(program: &str, is_json: bool, outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else {
        return printing::finish::<String>(program, Ok(ExitCode::SUCCESS));
    };
    let code = code(&error);
    match is_json {
        true => eprintln!(
            "{}",
            json!({"error": format!("{error:#}"), "exit_code": code})
        ),
        false => eprintln!("{program}: {}", harmless(&format!("{error:#}"))),
    }
    printing::finish::<String>(program, Ok(ExitCode::from(code)))
}
