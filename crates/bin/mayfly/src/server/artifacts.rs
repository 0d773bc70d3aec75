//! The agent's way to artifacts on the same machine: straight to the blobs.

use std::{io::Read, sync::Arc};
use store::{Blobs, blob};
use types::{Code, Digest, Fault};
use wire::Artifacts;

pub struct Local(pub Arc<Blobs>);

impl Artifacts for Local {
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, Fault> {
        match self.0.get(digest) {
            Ok(file) => Ok(Box::new(file)),
            Err(blob::Error::Full) => Err(Fault::new(Code::StorageFull, "the blob store's disk is full")),
            Err(error) => Err(Fault::internal(error)),
        }
    }
}
