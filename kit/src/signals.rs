//! What tells the program to stop, or to read its settings anew. Installed before anything that takes time: as process 1
//! of a container it would not be ended by a signal otherwise, and SIGHUP would end it without a word.

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// By the signal of this name.
    Stop(&'static str),
    /// SIGHUP: a terminal that closed, or somebody who has changed the settings.
    Reload,
}

impl Signals {
    /// From here on the process is not ended by SIGTERM, SIGHUP and Ctrl-C: it has to end itself.
    pub fn install() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    /// The name of the next one that says to stop, while there is nothing that could be read anew.
    pub async fn received(&mut self) -> &'static str {
        loop {
            match self.next().await {
                Told::Stop(name) => return name,
                Told::Reload => tracing::info!("SIGHUP: the settings were read a moment ago"),
            }
        }
    }
}
