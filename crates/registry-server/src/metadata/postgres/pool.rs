//! Connections: a few that are kept, transactions on them, and what is done when the database goes away.
//!
//! ```text
//! session ─► a connection that rests, or a new one ─► statements, prepared once on each
//! begin   ─► BEGIN and the locks in one message ─ work ─► commit      rolled back when dropped
//! ```
//! Work that met a conflict is done again at once, work whose connection was lost is done again until the database has
//! been away for [`PATIENCE`]. Only a commit whose answer was lost is not repeated: nobody knows what came of it.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::address::Address;
use super::lock::Locks;
use super::tls::Secure;
use crate::metadata::{Error, Result};

/// Most connections of one server: several of them share a database that takes a hundred.
const CONNECTIONS: usize = 16;
/// How long a database may be away before callers are told.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often work is done again because somebody else was faster.
const CONFLICTS: u32 = 20;

/// Values of a statement.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Whether an acknowledged write waits for the database's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It survives a power cut there.
    Full,
    /// It survives the death of this process.
    Relaxed,
}

/// The connections.
pub(super) struct Pool {
    address: Address,
    resting: Mutex<Vec<Open>>,
    permits: Semaphore,
}

/// A connection with its prepared statements.
struct Open {
    client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
}

/// A connection in use. It rests again when dropped.
pub(super) struct Session<'p> {
    pool: &'p Pool,
    open: Option<Open>,
    in_transaction: bool,
    _permit: SemaphorePermit<'p>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn failed(operation: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Error {
    move |source| Error::Postgres { operation, source }
}

impl Pool {
    /// No connection is made yet.
    pub(super) fn new(address: Address) -> Self {
        Self { address, resting: Mutex::default(), permits: Semaphore::new(CONNECTIONS) }
    }

    /// A connection, for statements that each stand alone.
    pub(super) async fn session(&self) -> Result<Session<'_>> {
        let permit = self.permits.acquire().await.map_err(|_| Error::Stopped)?;
        let resting = || {
            let mut resting = lock(&self.resting);
            resting.retain(|open| !open.client.is_closed());
            resting.pop()
        };
        let open = match resting() {
            Some(open) => open,
            None => self.connect().await?,
        };
        Ok(Session { pool: self, open: Some(open), in_transaction: false, _permit: permit })
    }

    /// A connection in a transaction that holds these locks. Statements see what is committed when each of them
    /// begins, so what is read after the locks were had is true until the transaction ends, as far as they go.
    pub(super) async fn begin(&self, durability: Durability, locks: &Locks) -> Result<Session<'_>> {
        let mut session = self.session().await?;
        let relaxed = match durability {
            Durability::Full => "",
            Durability::Relaxed => "SET LOCAL synchronous_commit = off;",
        };
        session.in_transaction = true;
        let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {relaxed} {locks}");
        session.open()?.client.batch_execute(&begin).await.map_err(failed("begin"))?;
        Ok(session)
    }

    async fn connect(&self) -> Result<Open> {
        let tls = Secure(self.address.tls.clone());
        let connected = self.address.config.connect(tls).await;
        let (client, connection) =
            connected.map_err(|source| Error::Connect { address: self.address.shown.clone(), source })?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(
                    problem = super::address::explained(&error),
                    "connection to the database lost"
                );
            }
        });
        Ok(Open { client, statements: Mutex::default() })
    }
}

impl Session<'_> {
    fn open(&self) -> Result<&Open> {
        self.open.as_ref().ok_or(Error::Stopped)
    }

    async fn prepared(&self, sql: &'static str) -> Result<Statement> {
        let open = self.open()?;
        let known = lock(&open.statements).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = open.client.prepare(sql).await.map_err(failed("prepare"))?;
        lock(&open.statements).insert(sql, statement.clone());
        Ok(statement)
    }

    /// All rows.
    pub(super) async fn all(&self, sql: &'static str, values: Values<'_>) -> Result<Vec<Row>> {
        let statement = self.prepared(sql).await?;
        self.open()?.client.query(&statement, values).await.map_err(failed("read"))
    }

    /// The first row, if there is one.
    pub(super) async fn one(&self, sql: &'static str, values: Values<'_>) -> Result<Option<Row>> {
        Ok(self.all(sql, values).await?.into_iter().next())
    }

    /// Changes rows; gives how many.
    pub(super) async fn execute(&self, sql: &'static str, values: Values<'_>) -> Result<u64> {
        let statement = self.prepared(sql).await?;
        self.open()?.client.execute(&statement, values).await.map_err(failed("write"))
    }

    /// Runs statements that have no values.
    pub(super) async fn batch(&self, sql: &str) -> Result<()> {
        self.open()?.client.batch_execute(sql).await.map_err(failed("write"))
    }

    /// Ends the transaction.
    pub(super) async fn commit(mut self) -> Result<()> {
        let done = self.open()?.client.batch_execute("COMMIT").await;
        self.in_transaction = done.is_err();
        done.map_err(|error| match is_conflict(&error) {
            // It was refused, so it did not happen.
            true => Error::Postgres { operation: "commit", source: error },
            false => Error::Commit(super::address::explained(&error)),
        })
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.client.is_closed() {
            return;
        }
        if self.in_transaction {
            // Sent at the first look at it, and before whatever the next user sends.
            let _ = open.client.batch_execute("ROLLBACK").now_or_never();
        }
        lock(&self.pool.resting).push(open);
    }
}

/// The attempts at one piece of work.
pub(super) struct Attempts {
    began: Instant,
    conflicts: u32,
    pause: Duration,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), conflicts: 0, pause: FIRST_PAUSE }
    }

    /// What came of an attempt, if it is the last; else it is time for the next.
    pub(super) async fn settle<T>(&mut self, done: Result<T>) -> Option<Result<T>> {
        let Err(error) = done else { return Some(done) };
        if error.is_conflict() && self.conflicts < CONFLICTS {
            self.conflicts += 1;
            // Whoever was faster is done in a moment; the same two must not meet again at the same time.
            tokio::time::sleep(Duration::from_millis(u64::from(crate::name::random_bytes::<1>()[0]) / 16))
                .await;
            return None;
        }
        if error.is_unavailable() && self.began.elapsed() < PATIENCE {
            tracing::debug!(%error, "the database is asked again");
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            return None;
        }
        Some(Err(error))
    }
}

/// Whether the database took the work back because of somebody else's.
pub(in crate::metadata) fn is_conflict(error: &tokio_postgres::Error) -> bool {
    let conflicts = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::UNIQUE_VIOLATION,
        SqlState::FOREIGN_KEY_VIOLATION,
    ];
    error.code().is_some_and(|code| conflicts.contains(code))
}

/// Whether the database is away, for now at least.
pub(in crate::metadata) fn is_unavailable(error: &tokio_postgres::Error) -> bool {
    use std::error::Error as _;
    let away = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    match error.code() {
        Some(code) => away.contains(code) || code.code().starts_with("08"),
        None => error.is_closed() || error.source().is_some_and(|source| source.is::<io::Error>()),
    }
}

/// Whether the database's disk is full.
pub(in crate::metadata) fn is_full(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::DISK_FULL)
}
