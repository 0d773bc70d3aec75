//! The control socket, seen from the guest.

use crate::plan::{DOCUMENT_MAX, Order, Plan, Report};
use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
};

pub(crate) struct Control {
    stream: UnixStream,
    /// Turns true once the platform is gone or wants everything killed.
    ended: bool,
}

impl Control {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, ended: false }
    }

    /// What to poll for reading; nothing (-1) once it ended.
    pub(crate) fn fd(&self) -> RawFd {
        if self.ended { -1 } else { self.stream.as_raw_fd() }
    }

    /// The plan; `None` where the platform is gone.
    pub(crate) fn plan(&mut self) -> io::Result<Option<Plan>> {
        match self.document()? {
            Some(text) => Ok(Some(serde_json::from_slice(&text)?)),
            None => Ok(None),
        }
    }

    /// The next order, once there is something to read; `None` at the end, whatever ended it.
    pub(crate) fn order(&mut self) -> Option<Order> {
        let order = self.document().ok().flatten().and_then(|text| serde_json::from_slice(&text).ok());
        self.ended = order.is_none();
        order
    }

    /// Tells the platform. A platform that is gone need not be told.
    pub(crate) fn report(&mut self, report: &Report) {
        if let Ok(text) = serde_json::to_vec(report) {
            let mut document = u32::try_from(text.len()).unwrap_or(0).to_le_bytes().to_vec();
            document.extend_from_slice(&text);
            let _gone = self.stream.write_all(&document);
        }
    }

    fn document(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > DOCUMENT_MAX {
            return Err(io::Error::other(format!("a document of {length} bytes is over {DOCUMENT_MAX}")));
        }
        let mut text = vec![0; length];
        self.stream.read_exact(&mut text)?;
        Ok(Some(text))
    }
}
