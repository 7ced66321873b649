//! A reader of standard output that has seen enough, like `head`, is no failure of the program.
//!
//! `println!` panics when nobody reads any more. What serves for long prints nothing there. Rejected: the
//! default of SIGPIPE, which cannot be restored without unsafe code and would end a program that writes
//! to a socket; and a fallible print in every command, which the next one forgets.

use std::{panic, process};

/// As if SIGPIPE had ended the program.
const EXIT_CODE: i32 = 128 + 13;

/// From here on, printing to a pipe that nobody reads ends the program without a word.
pub fn install() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let said = info.payload().downcast_ref::<String>();
        if said.is_some_and(|said| said.starts_with("failed printing to stdout: Broken pipe")) {
            exit();
        }
        report(info);
    }));
}

/// As a program ends that nobody listens to any more.
pub fn exit() -> ! {
    process::exit(EXIT_CODE)
}
