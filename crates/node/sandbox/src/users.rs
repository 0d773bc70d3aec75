//! A user for each instance: what keeps instances from signalling, tracing and starving each other.
//!
//! `RLIMIT_NPROC` counts the processes of a user over the whole machine, so instances that share one hold each other
//! to one limit. As root, each instance gets a number of its own, which no account has, from a block that this
//! platform claims by a lock: two platforms on one machine never share a number, and what an earlier platform left can
//! be told by its number.

use crate::{
    Error,
    table::{Line, Table},
};
use parking_lot::Mutex;
use rustix::fs::FlockOperation;
use std::{
    collections::{HashSet, VecDeque},
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
};

/// Whose processes user code's are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Users {
    /// The platform's own user: all that can be had without root. As root, user code would be root.
    Own,
    /// A user of its own for each instance; needs root.
    Pool(Pool),
}

/// Numbers for users, in blocks of which a platform claims one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The first number. No account may have one of the range, ever: whoever has one is killed as an instance's.
    pub base: u32,
    /// Numbers in a block: the most instances of one platform.
    pub size: u32,
    /// Blocks: the most platforms on the machine.
    pub blocks: u32,
    /// Folder of the locks, the same for all platforms of the machine.
    pub locks: PathBuf,
}

impl Default for Pool {
    /// 1,000 blocks of 1,000 from 1,900,000,000 on, which neither distributions nor systemd hand out (systemd's
    /// UIDS-GIDS.md); where the user namespace has no such numbers, 40 from 20,000 on.
    fn default() -> Self {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let (high, size) = (1_900_000_000, 1000);
        let (base, blocks) = if maps(&map, high, size * 1000) { (high, 1000) } else { (20_000, 40) };
        Self { base, size, blocks, locks: "/run/mayfly/users".into() }
    }
}

impl Pool {
    /// The number of the block that has this user.
    fn block_of(&self, uid: u32) -> Option<u32> {
        let number = uid.checked_sub(self.base)? / self.size.max(1);
        (number < self.blocks).then_some(number)
    }
}

impl Users {
    /// The best that this process may have.
    pub fn detect() -> Self {
        if rustix::process::geteuid().is_root() { Self::Pool(Pool::default()) } else { Self::Own }
    }
}

/// Whether a user namespace's map (user_namespaces(7)) has all these numbers in one line.
fn maps(map: &str, base: u32, count: u32) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().filter_map(|field| field.parse::<u64>().ok());
        let (Some(first), Some(_), Some(length)) = (fields.next(), fields.next(), fields.next()) else { return false };
        first <= base.into() && u64::from(base) + u64::from(count) <= first + length
    })
}

/// Hands the numbers out.
#[derive(Debug)]
pub(crate) struct Allocator {
    users: Users,
    claimed: Mutex<Option<Block>>,
}

/// The block of this platform, locked for as long as it lives.
#[derive(Debug)]
struct Block {
    first: u32,
    /// Longest unused first.
    free: VecDeque<u32>,
    _lock: File,
}

impl Allocator {
    pub(crate) fn new(users: Users) -> Self {
        Self { users, claimed: Mutex::new(None) }
    }

    /// A user for an instance; `None`: the platform's own.
    pub(crate) fn take(&self) -> Result<Option<u32>, Error> {
        let Users::Pool(pool) = &self.users else { return Ok(None) };
        let mut claimed = self.claimed.lock();
        if claimed.is_none() {
            *claimed = Some(claim_any(pool)?);
        }
        match claimed.as_mut().and_then(|block| block.free.pop_front()) {
            Some(uid) => Ok(Some(uid)),
            None => Err(Error::NoUser(pool.size)),
        }
    }

    /// Gives a user back; nothing of its instance may be left.
    pub(crate) fn give_back(&self, uid: u32) {
        if let Some(block) = self.claimed.lock().as_mut() {
            block.free.push_back(uid);
        }
    }

    /// Whether a number that an earlier platform used is surely this platform's now, so that whoever has it is what
    /// that platform left. Claims the number's block where none is claimed yet.
    pub(crate) fn owns(&self, uid: u32) -> Result<bool, Error> {
        let Users::Pool(pool) = &self.users else { return Ok(false) };
        let Some(number) = pool.block_of(uid) else { return Ok(false) };
        let mut claimed = self.claimed.lock();
        if claimed.is_none() {
            *claimed = claim(pool, number)?;
        }
        Ok(claimed.as_ref().is_some_and(|block| block.first == pool.base + number * pool.size))
    }
}

/// The first block that nobody holds and nobody runs in (what a killed platform left counts as somebody).
fn claim_any(pool: &Pool) -> Result<Block, Error> {
    let table = Table::read().map_err(Error::io("cannot read /proc"))?;
    let in_use: HashSet<u32> = table.lines().filter_map(Line::uid).filter_map(|uid| pool.block_of(uid)).collect();
    for number in (0..pool.blocks).filter(|number| !in_use.contains(number)) {
        if let Some(block) = claim(pool, number)? {
            return Ok(block);
        }
    }
    Err(Error::NoBlock { base: pool.base, size: pool.size, locks: pool.locks.clone() })
}

fn claim(pool: &Pool, number: u32) -> Result<Option<Block>, Error> {
    let first = pool.base + number * pool.size;
    let locks = &pool.locks;
    let lock = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(locks)
        .and_then(|()| lock(&locks.join(first.to_string())))
        .map_err(Error::io(format!("cannot lock a block of users in {}", locks.display())))?;
    Ok(lock.map(|lock| Block { first, free: (first..first + pool.size).collect(), _lock: lock }))
}

/// Locks a file for as long as it is open; `None` where another process holds it.
pub(crate) fn lock(path: &std::path::Path) -> io::Result<Option<File>> {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn pool(locks: &std::path::Path) -> Users {
        Users::Pool(Pool { base: 2_100_000_000, size: 2, blocks: 2, locks: locks.into() })
    }

    #[test]
    fn numbers_are_bounded_and_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let users = Allocator::new(pool(folder.path()));
        let (a, b) = (users.take().unwrap().unwrap(), users.take().unwrap().unwrap());
        assert_ne!(a, b);
        assert!(matches!(users.take(), Err(Error::NoUser(2))));
        users.give_back(a);
        assert_eq!(users.take().unwrap(), Some(a));
    }

    #[test]
    fn platforms_of_one_machine_share_no_number() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, three] = [(); 3].map(|()| Allocator::new(pool(folder.path())));
        let (a, b) = (one.take().unwrap().unwrap(), two.take().unwrap().unwrap());
        assert!(a.abs_diff(b) >= 2, "{a} {b}");
        assert!(matches!(three.take(), Err(Error::NoBlock { .. })));
        assert!(one.owns(a).unwrap() && !one.owns(b).unwrap() && !one.owns(1000).unwrap());
        drop(one);
        assert!(three.owns(a).unwrap(), "a lock ends with its platform");
    }

    #[test]
    fn a_namespace_may_lack_high_numbers() {
        assert!(maps("         0          0 4294967295\n", 1_900_000_000, 16_000));
        assert!(!maps("0 100000 65536\n", 1_900_000_000, 16_000));
        assert!(!maps("", 1, 1));
    }
}
