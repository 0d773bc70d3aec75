//! An upgraded connection (WebSocket): bytes both ways until one side ends it, or the call's time is over.
//!
//! It is one call: it holds its slot and keeps the revision's `timeout`. What goes through is nobody's business here.

use crate::{address::Stream, link::vitals::Vitals};
use bytes::Bytes;
use chassis::task;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::{io, time::Instant};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    time::sleep_until,
};
use types::Code;
use wire::{End, Permit};

const SWITCHED: u16 = 101;

/// Connects both sides in a task of its own, which ends with the instance at the latest.
///
/// `first` is what the instance said right behind its answer.
pub(crate) fn open(
    client: OnUpgrade,
    instance: Stream,
    first: Bytes,
    deadline: Instant,
    permit: Permit,
    vitals: Vitals,
) {
    task::spawn("tunnel", async move {
        let end = tokio::select! {
            // Whoever hangs up, and however: the call is over and was answered.
            _ = pass(client, instance, first) => End::ok(SWITCHED),
            () = sleep_until(deadline.into()) => {
                End { code: Some(Code::FunctionTimeout), ..End::ok(SWITCHED) }
            }
            () = vitals.gone() => End::ok(SWITCHED),
        };
        permit.finish(end);
    });
}

async fn pass(client: OnUpgrade, mut instance: Stream, first: Bytes) -> io::Result<()> {
    let mut client = TokioIo::new(client.await.map_err(io::Error::other)?);
    client.write_all(&first).await?;
    copy_bidirectional(&mut client, &mut instance).await.map(drop)
}
