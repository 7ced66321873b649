//! The connections to the database, of which nobody gets all: see [`limits::fair_semaphore`].

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use limits::fair_semaphore::{FairSemaphore, Permit};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::time::Instant;

#[derive(Clone)]
pub struct Pool {
    connections: PgPool,
    permits: FairSemaphore,
    timeout: Duration,
}

/// Of the pool's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub most: u64,
    pub busy: u64,
    pub idle: u64,
    /// Who waits for one.
    pub waiting: u64,
}

impl Pool {
    pub fn new(connections: PgPool) -> Self {
        let options = connections.options();
        Self {
            permits: FairSemaphore::new(options.get_max_connections() as usize),
            timeout: options.get_acquire_timeout(),
            connections,
        }
    }

    /// Waits for a connection, on behalf of whom the running task works for.
    pub async fn acquire(&self) -> sqlx::Result<Connection> {
        let (permit, began) = self.permit().await?;
        let left = self.timeout.saturating_sub(began.elapsed());
        let connection = tokio::time::timeout(left, self.connections.acquire()).await;
        Ok(Connection {
            connection: connection.map_err(|_| sqlx::Error::PoolTimedOut)??,
            _permit: permit,
        })
    }

    /// As [`Self::acquire`], and begins a transaction on it. One that is dropped is rolled back.
    pub async fn begin(&self) -> sqlx::Result<Transaction> {
        let (permit, began) = self.permit().await?;
        let left = self.timeout.saturating_sub(began.elapsed());
        let transaction = tokio::time::timeout(left, self.connections.begin()).await;
        Ok(Transaction {
            transaction: transaction.map_err(|_| sqlx::Error::PoolTimedOut)??,
            _permit: permit,
        })
    }

    /// Without a permit: for listening, and for what is done before anybody is served.
    pub fn connections(&self) -> &PgPool {
        &self.connections
    }

    /// How many connections there are, and who waits for one.
    pub fn usage(&self) -> Usage {
        let (open, idle) = (
            u64::from(self.connections.size()),
            self.connections.num_idle(),
        );
        let idle = idle as u64;
        Usage {
            most: u64::from(self.connections.options().get_max_connections()),
            // The two are not read at one moment.
            busy: open.saturating_sub(idle),
            idle,
            waiting: self.permits.waiting() as u64,
        }
    }

    pub async fn close(&self) {
        self.connections.close().await;
    }

    async fn permit(&self) -> sqlx::Result<(Permit, Instant)> {
        let began = Instant::now();
        let permit = tokio::time::timeout(self.timeout, self.permits.acquire()).await;
        Ok((permit.map_err(|_| sqlx::Error::PoolTimedOut)?, began))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.connections.fmt(f)
    }
}

/// A connection, until it is dropped.
#[derive(Debug)]
pub struct Connection {
    connection: PoolConnection<Postgres>,
    _permit: Permit,
}

impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

#[derive(Debug)]
pub struct Transaction {
    transaction: sqlx::Transaction<'static, Postgres>,
    _permit: Permit,
}

impl Transaction {
    pub async fn commit(self) -> sqlx::Result<()> {
        self.transaction.commit().await
    }

    pub async fn rollback(self) -> sqlx::Result<()> {
        self.transaction.rollback().await
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}
