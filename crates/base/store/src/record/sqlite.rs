//! The log on disk: one SQLite file that holds the same records as the table, written before the table is.
//!
//! WAL with `synchronous=FULL`: a commit returns after its fsync. The file is locked for this process alone, because
//! reads come from memory and would not see what another process writes.

mod schema;

use super::{Change, Error, Kind, LeaseId, Version, log::Batch, log::Log, table::State};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};
use std::{path::Path, time::Duration, time::Instant};

pub(super) struct Sqlite {
    db: Connection,
}

/// The database's content, and the log that goes on from there. Leases have their whole time again.
pub(super) fn open(path: &Path, bytes_max: Option<u64>, now: Instant) -> Result<(State, Sqlite), Error> {
    let db = schema::connect(path, bytes_max)?;
    let state = schema::load(&db, now).map_err(error)?;
    Ok((state, Sqlite { db }))
}

/// Disk full is its own error, whether the disk says so or the limit on the file's size.
fn error(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::Full,
        _ => Error::Sqlite(error),
    }
}

/// SQLite's integers are signed; no version, lease or time of ours comes near the difference.
fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Log for Sqlite {
    fn blocks(&self) -> bool {
        true
    }

    fn append(&mut self, batch: &Batch) -> Result<(), Error> {
        // Dropping the transaction rolls it back, also when COMMIT itself failed.
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(error)?;
        if !advance(&tx, batch).map_err(error)? {
            return Err(Error::Diverged { memory: batch.before });
        }
        write(&tx, batch).map_err(error)?;
        tx.commit().map_err(error)
    }
}

/// Moves the version on; `false` where the database does not stand where the batch was decided.
fn advance(tx: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<bool> {
    let sql = "UPDATE meta SET version = ?1 WHERE version = ?2";
    Ok(tx.execute(sql, params![int(batch.version.0), int(batch.before.0)])? == 1)
}

fn write(tx: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    if let Some((LeaseId(id), ttl)) = batch.granted {
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        tx.execute("INSERT INTO lease (id, ttl_ms) VALUES (?1, ?2)", params![int(id), ttl_ms])?;
    }
    let mut put = tx.prepare("REPLACE INTO record (key, value, version, lease) VALUES (?1, ?2, ?3, ?4)")?;
    let mut delete = tx.prepare("DELETE FROM record WHERE key = ?1")?;
    for Change { version: Version(version), kind } in &batch.changes {
        match kind {
            Kind::Put(entry) => {
                let lease = entry.lease.map(|id| int(id.0));
                put.execute(params![&*entry.key, &*entry.value, int(*version), lease])?
            }
            Kind::Delete { key } => delete.execute([&**key])?,
        };
    }
    for LeaseId(id) in &batch.ended {
        tx.execute("DELETE FROM lease WHERE id = ?1", [int(*id)])?;
    }
    Ok(())
}

/// A time to live as the database keeps it.
fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
