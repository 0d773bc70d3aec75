//! Ports for servers that listen on `$PORT`, and whose they turn out to be.
//!
//! A server binds its port itself, some time after it was told the number. Numbers come from below the kernel's
//! ephemeral range, so that nobody who asks for any free port gets one in the meantime; and before a listener is taken
//! for the instance's, its user is compared.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
};

/// Below lie the ports of well-known services.
const FIRST: u16 = 10_000;
const TRIES: usize = 100;

/// A port on 127.0.0.1 that nobody listens on now.
///
/// # Errors
/// Where none of a hundred was free.
pub(crate) fn free() -> io::Result<u16> {
    let end = ephemeral_start().filter(|start| *start > FIRST + 1000).unwrap_or(32_768);
    let mut last = io::ErrorKind::AddrInUse.into();
    for _ in 0..TRIES {
        let port = fastrand::u16(FIRST..end);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ephemeral_start() -> Option<u16> {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?.split_whitespace().next()?.parse().ok()
}

/// True where the listener on `port` runs as `user`, or its user cannot be told.
pub(crate) fn belongs_to(port: u16, user: u32) -> bool {
    listener_user(port).is_none_or(|listener| listener == user)
}

/// The user of who listens on `port` (proc(5), `/proc/net/tcp`: local address, state 0A, uid).
fn listener_user(port: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines()).find_map(|line| user_in(line, port))
}

fn user_in(line: &str, port: u16) -> Option<u32> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, uid) = (fields.get(1)?, fields.get(3)?, fields.get(7)?);
    let found = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
    if found == port && *state == "0A" { uid.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_free_and_no_ephemeral_one() {
        let port = free().unwrap();
        assert!(port >= FIRST && ephemeral_start().is_none_or(|start| port < start || start <= FIRST + 1000), "{port}");
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(belongs_to(port, rustix::process::getuid().as_raw()));
    }

    #[test]
    fn a_listener_has_a_user() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1900 0 1234 1";
        assert_eq!((user_in(line, 8080), user_in(line, 8081)), (Some(1900), None));
        assert_eq!(user_in(&line.replace(" 0A ", " 01 "), 8080), None);
        assert_eq!(user_in("  sl  local_address rem_address   st tx_queue", 8080), None);
    }
}
