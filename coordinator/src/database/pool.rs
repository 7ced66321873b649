//! The connections to the database, of which nobody gets all: see [`limits::turns`].

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use limits::turns::{Turn, Turns};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::time::Instant;

#[derive(Clone)]
pub struct Pool {
    connections: PgPool,
    turns: Turns,
    timeout: Duration,
}

impl Pool {
    pub fn new(connections: PgPool) -> Self {
        let options = connections.options();
        Self {
            turns: Turns::new(options.get_max_connections() as usize),
            timeout: options.get_acquire_timeout(),
            connections,
        }
    }

    /// Waits for a connection, on behalf of whom the running task works for.
    pub async fn acquire(&self) -> sqlx::Result<Connection> {
        let (turn, began) = self.turn().await?;
        let left = self.timeout.saturating_sub(began.elapsed());
        let connection = tokio::time::timeout(left, self.connections.acquire()).await;
        Ok(Connection {
            connection: connection.map_err(|_| sqlx::Error::PoolTimedOut)??,
            _turn: turn,
        })
    }

    /// As [`Self::acquire`], and begins a transaction on it. One that is dropped is rolled back.
    pub async fn begin(&self) -> sqlx::Result<Transaction> {
        let (turn, began) = self.turn().await?;
        let left = self.timeout.saturating_sub(began.elapsed());
        let transaction = tokio::time::timeout(left, self.connections.begin()).await;
        Ok(Transaction {
            transaction: transaction.map_err(|_| sqlx::Error::PoolTimedOut)??,
            _turn: turn,
        })
    }

    /// Without taking turns: for listening, and for what is done before anybody is served.
    pub fn connections(&self) -> &PgPool {
        &self.connections
    }

    pub async fn close(&self) {
        self.connections.close().await;
    }

    async fn turn(&self) -> sqlx::Result<(Turn, Instant)> {
        let began = Instant::now();
        let turn = tokio::time::timeout(self.timeout, self.turns.take()).await;
        Ok((turn.map_err(|_| sqlx::Error::PoolTimedOut)?, began))
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
    _turn: Turn,
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
    _turn: Turn,
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
