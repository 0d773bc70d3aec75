//! The yardstick of a machine's speed: a bare server that answers each request itself.
//!
//! Absolute microseconds move with the machine and with whatever else it does; how many such answers a call costs, less.

use crate::{
    cpu::Meter,
    duel::Side,
    load::{Address, get},
    platform::end,
    upstream,
};
use anyhow::Context;
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

/// What it is called in reports.
pub const NAME: &str = "bare server";

/// A running yardstick; it ends when this is dropped.
pub struct Yardstick {
    child: Child,
    address: SocketAddr,
}

impl Yardstick {
    pub fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["upstream", upstream::TCP])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        let address = line.trim().parse().with_context(|| format!("the yardstick said `{line}`"))?;
        Ok(Self { child, address })
    }

    pub fn side(&self) -> Side {
        let (address, meter) = (Address::Tcp(self.address), Some(Meter::new(self.child.id())));
        Side { name: NAME.into(), address, request: get("/"), meter }
    }
}

impl Drop for Yardstick {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
