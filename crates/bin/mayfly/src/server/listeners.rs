//! The sockets that a platform listens on: bound here, or taken over from another process.

use super::Options;
use anyhow::{Context, bail};
use std::{
    io,
    net::{SocketAddr, TcpListener},
};

pub(super) struct Listeners {
    pub(super) gateway: TcpListener,
    pub(super) api: TcpListener,
    pub(super) admin: TcpListener,
    /// Functions over HTTPS.
    pub(super) tls: Option<TcpListener>,
}

impl Listeners {
    /// Binds all of them before anything starts: a taken port is told at once.
    ///
    /// # Errors
    /// Which address cannot be had, and for what.
    pub(super) fn bind(options: &Options) -> anyhow::Result<Self> {
        let tls = options.gateway.certificates.as_ref().map(|_| bind("functions over HTTPS", options.tls_listen));
        Ok(Self {
            gateway: bind("functions", options.listen)?,
            api: bind("the API", options.api)?,
            admin: bind("health and metrics", options.admin)?,
            tls: tls.transpose()?,
        })
    }

    /// In the order in which they are handed over.
    pub(super) fn all(&self) -> Vec<&TcpListener> {
        [&self.gateway, &self.api, &self.admin].into_iter().chain(&self.tls).collect()
    }

    /// What [`Self::all`] gave, in another process. Where only one of the two serves HTTPS, its socket is bound or
    /// closed here.
    ///
    /// # Errors
    /// Where the number of sockets is another one: the versions do not go together.
    pub(super) fn take(sockets: Vec<TcpListener>, options: &Options) -> anyhow::Result<Self> {
        let count = sockets.len();
        let mut sockets = sockets.into_iter().map(non_blocking);
        let (Some(gateway), Some(api), Some(admin), tls, None) =
            (sockets.next(), sockets.next(), sockets.next(), sockets.next(), sockets.next())
        else {
            bail!("{count} sockets were handed over, and this version has 3 or 4");
        };
        let tls = match (&options.gateway.certificates, tls) {
            (None, _) => None,
            (Some(_), Some(handed)) => Some(handed?),
            (Some(_), None) => Some(bind("functions over HTTPS", options.tls_listen)?),
        };
        Ok(Self { gateway: gateway?, api: api?, admin: admin?, tls })
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            gateway: self.gateway.try_clone()?,
            api: self.api.try_clone()?,
            admin: self.admin.try_clone()?,
            tls: self.tls.as_ref().map(TcpListener::try_clone).transpose()?,
        })
    }
}

fn bind(what: &str, addr: SocketAddr) -> anyhow::Result<TcpListener> {
    let told = || format!("cannot listen on {addr} for {what}: is another platform running?");
    TcpListener::bind(addr).and_then(non_blocking).with_context(told)
}

fn non_blocking(listener: TcpListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(listener)
}
