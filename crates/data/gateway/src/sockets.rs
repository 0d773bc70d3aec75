//! What the kernel is told about clients that are gone or take nothing. Connections inherit it from their listener.

use rustix::net::sockopt;
use std::{io, net::TcpListener, time::Duration};

/// Silence after which the kernel asks whether a peer is still there, and how often: a client that lost its network
/// says nothing any more, and its tunnel would stay.
const ASK_AFTER: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(15);
const ASKS: u32 = 4;

/// `stall`: how long a client may take nothing of what is sent to it (RFC 5482).
///
/// # Errors
/// Where the socket is none of TCP.
pub(crate) fn prepare(listener: &TcpListener, stall: Duration) -> io::Result<()> {
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, ASK_AFTER)?;
    sockopt::set_tcp_keepintvl(listener, ASK_EVERY)?;
    sockopt::set_tcp_keepcnt(listener, ASKS)?;
    sockopt::set_tcp_user_timeout(listener, u32::try_from(stall.as_millis()).unwrap_or(u32::MAX))?;
    Ok(())
}
