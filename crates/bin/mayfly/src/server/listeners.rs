//! The sockets that a platform listens on: bound here, or taken over from another process.

use super::Options;
use anyhow::{Context, ensure};
use std::{
    io,
    net::{SocketAddr, TcpListener},
};

pub(super) struct Listeners {
    pub(super) gateway: TcpListener,
    pub(super) api: TcpListener,
    pub(super) admin: TcpListener,
}

impl Listeners {
    /// Binds all of them before anything starts: a taken port is told at once.
    ///
    /// # Errors
    /// Which address cannot be had, and for what.
    pub(super) fn bind(options: &Options) -> anyhow::Result<Self> {
        let bind = |what: &str, addr: SocketAddr| {
            let told = || format!("cannot listen on {addr} for {what}: is another platform running?");
            TcpListener::bind(addr).and_then(non_blocking).with_context(told)
        };
        Ok(Self {
            gateway: bind("functions", options.listen)?,
            api: bind("the API", options.api)?,
            admin: bind("health and metrics", options.admin)?,
        })
    }

    /// In the order in which they are handed over.
    pub(super) fn all(&self) -> [&TcpListener; 3] {
        [&self.gateway, &self.api, &self.admin]
    }

    /// What [`Self::all`] gave, in another process.
    ///
    /// # Errors
    /// Where their number is another one: the versions do not go together.
    pub(super) fn from_all(sockets: Vec<TcpListener>) -> anyhow::Result<Self> {
        let count = sockets.len();
        let [gateway, api, admin] = <[TcpListener; 3]>::try_from(sockets)
            .map_err(|_| anyhow::anyhow!("{count} sockets were handed over, and this version has 3"))?;
        for listener in [&gateway, &api, &admin] {
            ensure!(listener.local_addr().is_ok(), "what was handed over is no socket");
        }
        Ok(Self { gateway: non_blocking(gateway)?, api: non_blocking(api)?, admin: non_blocking(admin)? })
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { gateway: self.gateway.try_clone()?, api: self.api.try_clone()?, admin: self.admin.try_clone()? })
    }
}

fn non_blocking(listener: TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(listener)
}
