//! Processes of this machine, named so that a recycled pid is never taken for the old process.
//!
//! A pid alone may belong to somebody else a second later, so a process is named by its pid and the
//! moment it was started. Signals go through a pidfd that is opened before that moment is checked:
//! whatever is signalled is what was meant. Rejected: killing by name or by process group, which
//! hits processes that nobody here has started.

use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Clock ticks per second in `/proc`: fixed at 100 in Linux' user interface.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    pub pid: u32,
    /// Clock ticks since the machine was started.
    pub started: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessState {
    Running,
    /// Stopped by SIGSTOP.
    Paused,
    /// Not there any more, or a zombie, or its pid belongs to another process by now.
    Gone,
}

impl ProcessId {
    /// Names the process that has this pid at this moment.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = Stat::read(pid)?;
        Ok(Self {
            pid,
            started: stat.started,
        })
    }

    pub fn state(self) -> ProcessState {
        match Stat::read(self.pid) {
            Ok(stat) if stat.started != self.started => ProcessState::Gone,
            Ok(stat) => match stat.state {
                // A killed process is a zombie from when its first thread has ended; only when the
                // last one has, its sockets and files are closed.
                'Z' if stat.threads > 1 => ProcessState::Running,
                'Z' | 'X' => ProcessState::Gone,
                'T' => ProcessState::Paused,
                _ => ProcessState::Running,
            },
            Err(_) => ProcessState::Gone,
        }
    }

    pub fn is_alive(self) -> bool {
        self.state() != ProcessState::Gone
    }

    /// Sends a signal; a process that is gone already is no error.
    pub fn signal(self, signal: Signal) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(());
        };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if !self.is_alive() {
            return Ok(());
        }
        match pidfd_send_signal(fd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// This process and everything it has started, itself first.
    pub fn with_descendants(self) -> Vec<Self> {
        let mut family = vec![self];
        let everyone = all();
        let mut next = 0;
        while let Some(parent) = family.get(next).copied() {
            family.extend(
                everyone
                    .iter()
                    .filter(|(_, stat)| stat.parent == parent.pid)
                    .map(|(pid, stat)| Self {
                        pid: *pid,
                        started: stat.started,
                    }),
            );
            next += 1;
        }
        family
    }

    /// Seconds of CPU time, in user and kernel mode, including those of children that have ended.
    pub fn cpu_seconds(self) -> Option<f64> {
        let stat = Stat::read(self.pid).ok()?;
        (stat.started == self.started).then_some(stat.cpu_ticks as f64 / TICKS_PER_SECOND)
    }

    /// The most memory that was ever resident, in bytes.
    pub fn peak_memory_bytes(self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        self.is_alive().then_some(kib * 1024)
    }
}

struct Stat {
    state: char,
    parent: u32,
    cpu_ticks: u64,
    threads: u64,
    started: u64,
}

impl Stat {
    fn read(pid: u32) -> io::Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is malformed")))
    }

    /// `pid (name) state ppid …`; the name may itself contain blanks and parentheses.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Numbered as in proc(5), where the state is field 3.
        let field = |number: usize| fields.get(number - 3).copied();
        let ticks = |number: usize| field(number)?.parse::<u64>().ok();
        Some(Self {
            state: field(3)?.chars().next()?,
            parent: field(4)?.parse().ok()?,
            cpu_ticks: ticks(14)? + ticks(15)? + ticks(16)? + ticks(17)?,
            threads: ticks(20)?,
            started: ticks(22)?,
        })
    }
}

fn all() -> Vec<(u32, Stat)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Stat::read(pid).ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_blanks_and_parentheses_does_not_confuse() {
        let line = "42 (a) b (c)) T 7 1 1 0 -1 4 9 0 0 0 11 12 3 4 20 0 1 0 198120 3133440";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.parent), ('T', 7));
        assert_eq!((stat.cpu_ticks, stat.started), (30, 198120));
    }

    #[test]
    fn a_recycled_pid_is_not_signalled() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let now = ProcessId::of(child.id()).unwrap();
        let before = ProcessId {
            started: now.started - 1,
            ..now
        };

        assert_eq!(before.state(), ProcessState::Gone);
        before.signal(Signal::KILL).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "the stranger lives on");

        now.signal(Signal::KILL).unwrap();
        child.wait().unwrap();
        assert_eq!(now.state(), ProcessState::Gone);
    }
}
