//! What the kernel is told about clients that are gone. Connections inherit it from their listener.

use rustix::net::sockopt;
use std::{io, net::TcpListener, time::Duration};

/// Silence after which the kernel asks whether a peer is still there, and how often: a client that lost its network
/// says nothing any more, and its tunnel would stay.
const ASK_AFTER: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_secs(15);
const ASKS: u32 = 4;

/// # Errors
/// Where the socket is none of TCP.
pub(crate) fn prepare(listener: &TcpListener) -> io::Result<()> {
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, ASK_AFTER)?;
    sockopt::set_tcp_keepintvl(listener, ASK_EVERY)?;
    sockopt::set_tcp_keepcnt(listener, ASKS)?;
    Ok(())
}
