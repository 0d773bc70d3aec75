//! Tells which processes belong to an instance whose guest is gone: nobody is their parent any more but init.
//!
//! A process is killed on evidence that only that instance's processes can have: its own user, the pipes that were made
//! for it, or its id or folder in the environment. A session alone is no evidence, because its number comes again; the
//! guest's is where one member is known, because a number in use is not given out twice.

use crate::{
    record::Record,
    table::{Line, Table},
};
use std::{
    collections::HashSet,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
};

/// What is left of the instance, the guest and its helpers included. `owns_uid`: the record's user is this platform's.
pub(crate) fn left(record: &Record, table: &Table, owns_uid: bool) -> Vec<Line> {
    let guest = table.get(record.guest).filter(|line| line.start == record.start);
    let known = table.lines().filter(|line| line.start >= record.start && !is_us(line));
    let mut found: Vec<Line> = known.filter(|line| is_known(record, line, owns_uid)).copied().collect();
    if record.uid.is_none() {
        // Only sessions that began in the instance: before its `setsid`, a guest is in the session of whoever started
        // the platform.
        let known: HashSet<i32> = found.iter().map(|line| line.pid).chain([record.guest]).collect();
        let sessions: HashSet<i32> =
            found.iter().map(|line| line.session).filter(|session| known.contains(session)).collect();
        found.extend(table.lines().filter(|line| sessions.contains(&line.session) && !is_us(line)));
    }
    found.extend(guest);
    found.extend(table.below(found.iter().map(|line| line.pid).collect::<Vec<_>>()));
    let mut seen = HashSet::new();
    found.retain(|line| !line.zombie && seen.insert(line.pid));
    found
}

/// This process: it has the reading ends of its instances' pipes.
fn is_us(line: &Line) -> bool {
    line.pid as u32 == std::process::id()
}

fn is_known(record: &Record, line: &Line, owns_uid: bool) -> bool {
    match record.uid {
        Some(uid) => {
            let same = line.uid() == Some(uid);
            same && (owns_uid || has_pipe(record, line) || has_variable(record, line))
        }
        None => has_pipe(record, line) || has_variable(record, line),
    }
}

/// Whether it may write to one of the instance's pipes. (The platform reads them.)
fn has_pipe(record: &Record, line: &Line) -> bool {
    let names = record.pipes.map(|inode| format!("pipe:[{inode}]"));
    let fds = fs::read_dir(format!("/proc/{}/fd", line.pid)).into_iter().flatten().flatten();
    fds.map(|entry| entry.path()).any(|path| {
        let ours = fs::read_link(&path).is_ok_and(|to| names.iter().any(|name| to.as_os_str() == name.as_str()));
        // The link's own permissions say how the file was opened (proc(5)).
        ours && fs::symlink_metadata(&path).is_ok_and(|meta| meta.mode() & 0o200 != 0)
    })
}

/// Whether a variable that it was started with is the instance's id, or its folder or a place in it.
fn has_variable(record: &Record, line: &Line) -> bool {
    let environ = fs::read(format!("/proc/{}/environ", line.pid)).unwrap_or_default();
    let (id, tmp) = (record.id.to_string(), record.tmp.as_os_str().as_bytes());
    let values = environ.split(|byte| *byte == 0).filter_map(|variable| {
        let at = variable.iter().position(|byte| *byte == b'=')?;
        variable.get(at + 1..)
    });
    values.into_iter().any(|value| {
        let inside = value.strip_prefix(tmp).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
        value == id.as_bytes() || (inside && !tmp.is_empty())
    })
}
