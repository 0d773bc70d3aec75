//! The database's shape: how it is opened, created, and loaded whole.

use super::{error, millis};
use crate::record::{
    Entry, Error, LeaseId, Version,
    table::{Lease, State},
};
use rusqlite::{Connection, ErrorCode, Row};
use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path, time::Duration, time::Instant};

/// What this release writes. A change of the tables adds one and a step in [`prepare`].
const SCHEMA: i64 = 1;

const CREATE: &str = "
    BEGIN IMMEDIATE;
    CREATE TABLE meta (version INTEGER NOT NULL);
    INSERT INTO meta (version) VALUES (0);
    CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl_ms INTEGER NOT NULL);
    CREATE TABLE record (key TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL, lease INTEGER);
    PRAGMA user_version = 1;
    COMMIT;
";

/// Long enough for the kernel to release the lock of a predecessor that was just killed.
const LOCK_WAIT: Duration = Duration::from_millis(500);

pub(super) fn connect(path: &Path, bytes_max: Option<u64>) -> Result<Connection, Error> {
    create(path).map_err(|source| Error::Create { path: path.to_owned(), source })?;
    let opened = Connection::open(path).and_then(|db| configure(&db, bytes_max).map(|()| db));
    let db = opened.map_err(|failed| match failed.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy) => Error::InUse(path.to_owned()),
        _ => error(failed),
    })?;
    prepare(&db, path)?;
    Ok(db)
}

/// Readable for its owner alone, since records can be secrets; SQLite gives its side files the same mode.
///
/// An existing file is not opened: closing it would drop the POSIX locks that this process has on it.
fn create(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn configure(db: &Connection, bytes_max: Option<u64>) -> rusqlite::Result<()> {
    db.busy_timeout(LOCK_WAIT)?;
    // Before the first access in WAL mode: it then needs no shared memory, and keeps other processes out.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    if let Some(bytes_max) = bytes_max {
        let page: i64 = db.pragma_query_value(None, "page_size", |row| row.get(0))?;
        db.pragma_update(None, "max_page_count", super::int(bytes_max) / page.max(1))?;
    }
    Ok(())
}

fn prepare(db: &Connection, path: &Path) -> Result<(), Error> {
    match db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(error)? {
        0 => db.execute_batch(CREATE).map_err(error),
        SCHEMA => Ok(()),
        found => Err(Error::Newer { path: path.to_owned(), found, known: SCHEMA }),
    }
}

pub(super) fn load(db: &Connection, now: Instant) -> rusqlite::Result<State> {
    let version = Version(db.query_row("SELECT version FROM meta", [], |row| uint(row, 0))?);
    let mut state = State { version, ..State::default() };
    // Leases first: an entry finds its lease when it is put.
    let mut leases = db.prepare("SELECT id, ttl_ms FROM lease")?;
    let mut rows = leases.query([])?;
    while let Some(row) = rows.next()? {
        state.leases.insert(LeaseId(uint(row, 0)?), Lease::new(millis(row.get(1)?), now));
    }
    let mut records = db.prepare("SELECT key, value, version, lease FROM record")?;
    let entries = records.query_map([], entry)?.collect::<rusqlite::Result<_>>()?;
    state.fill(entries);
    Ok(state)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let lease: Option<i64> = row.get(3)?;
    Ok(Entry {
        key: row.get_ref(0)?.as_str()?.into(),
        value: row.get_ref(1)?.as_blob()?.into(),
        version: Version(uint(row, 2)?),
        lease: lease.map(|id| LeaseId(id.unsigned_abs())),
    })
}

fn uint(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(i64::unsigned_abs)
}
