//! Tests that send to everybody on the local network get one of their own: no device of whoever runs them
//! hears of it, and none answers.

use std::process::{Command, Stdio};

/// An address in that network, like one that a router gives out.
pub(crate) const ADDR: &str = "10.99.0.1";

const INSIDE: &str = "FSN_TEST_IN_ITS_OWN_NETWORK";

/// Multicast goes over the loopback interface, which has a private address beside its own.
const SET_UP: &str = "ip link set lo up && ip link set lo multicast on && \
                      ip addr add 10.99.0.1/24 dev lo && ip route add 224.0.0.0/4 dev lo";

/// Whether to go on with the test: in the process that runs in the network, which this one starts for it.
/// Where the system gives nobody a network, says so and passes the test over.
pub(crate) fn entered(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c", script]);
        command.stdin(Stdio::null());
        command
    };
    if !inside(SET_UP).status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED {test}: this system gives no network namespace with multicast");
        return false;
    }
    let status = inside(&format!(
        "{SET_UP} && exec \"$0\" --exact {test} --nocapture"
    ))
    .arg(std::env::current_exe().unwrap())
    .env(INSIDE, "1")
    .status()
    .unwrap();
    assert!(status.success(), "it fails in a network of its own");
    false
}
