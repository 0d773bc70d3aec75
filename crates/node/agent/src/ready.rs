//! When an instance may be called.

use crate::{address::Address, launch::Way, link::runtime_api::Init, port};
use http::{Request, Response, header};
use http_body_util::Empty;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use tokio::sync::watch;
use types::{Code, Fault, Protocol};
use wire::Exit;

/// Between two looks at a socket that nobody listens on yet. Looking is a connect of some µs.
const LOOK_MIN: Duration = Duration::from_micros(500);
const LOOK_MAX: Duration = Duration::from_millis(10);
/// Time for one answer to a readiness request.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A request that is answered once the instance is ready.
#[derive(Clone, Copy)]
pub(crate) struct Probe<'a> {
    pub(crate) path: &'a str,
    pub(crate) protocol: Protocol,
}

/// Waits until the instance can be called: which address it listens on, where it listens.
///
/// # Errors
/// `start_failed` where it ended or said so, `start_timeout` where it took longer than `limit`.
pub(crate) async fn ready(
    way: &Way,
    socket: &Address,
    user: u32,
    probe: Option<Probe<'_>>,
    init: Option<watch::Receiver<Init>>,
    mut exit: watch::Receiver<Option<Exit>>,
    limit: Duration,
) -> Result<Option<Address>, Fault> {
    let waiting = async {
        match way {
            Way::Bootstrap | Way::Command => Ok(Some(listening(std::slice::from_ref(socket), user).await)),
            Way::Server(addresses) => {
                let address = listening(addresses, user).await;
                if let Some(probe) = probe {
                    answers(&address, probe).await;
                }
                Ok(Some(address))
            }
            Way::RuntimeApi => polled(init).await.map(|()| None),
        }
    };
    let gone = async { exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone()) };
    tokio::select! {
        biased;
        ready = waiting => ready,
        exit = gone => Err(Fault::new(Code::StartFailed, ended(exit.as_ref()))),
        () = tokio::time::sleep(limit) => Err(late(way, probe.map(|probe| probe.path), limit)),
    }
}

fn ended(exit: Option<&Exit>) -> String {
    match exit {
        Some(Exit::Status(status)) => format!("the process ended with status {status} before it was ready"),
        Some(Exit::Signal(signal)) => format!("the process was ended by signal {signal} before it was ready"),
        Some(Exit::Memory { used, limit }) => {
            format!("the process held {} MiB of {} MiB before it was ready", used >> 20, limit >> 20)
        }
        Some(Exit::Stopped | Exit::Deadline) | None => "the instance was stopped before it was ready".to_owned(),
    }
}

fn late(way: &Way, path: Option<&str>, limit: Duration) -> Fault {
    let missing = match (way, path) {
        (Way::Server(_), Some(path)) => format!("GET {path} did not answer 2xx or 3xx on $MAYFLY_SOCKET or $PORT"),
        (Way::Server(_), None) => "nothing listens on $MAYFLY_SOCKET or $PORT".to_owned(),
        (Way::RuntimeApi, _) => "the runtime did not poll for an invocation".to_owned(),
        (Way::Bootstrap | Way::Command, _) => "the code is not loaded".to_owned(),
    };
    Fault::new(Code::StartTimeout, format!("after {limit:?}, {missing}"))
}

/// The first of the addresses on which the instance accepts a connection.
async fn listening(addresses: &[Address], user: u32) -> Address {
    let mut pause = LOOK_MIN;
    loop {
        for address in addresses {
            if address.connect().await.is_ok() && is_own(address, user) {
                return address.clone();
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(LOOK_MAX);
    }
}

/// Nobody else gets at a socket; a port may have been taken by another program before the instance came to bind it.
fn is_own(address: &Address, user: u32) -> bool {
    match address {
        Address::Unix(_) => true,
        Address::Port(port) => port::belongs_to(*port, user),
    }
}

/// Until `GET path` answers 2xx or 3xx.
async fn answers(address: &Address, probe: Probe<'_>) {
    loop {
        if let Ok(Some(200..=399)) = tokio::time::timeout(ANSWER_MAX, status(address, probe)).await {
            return;
        }
        tokio::time::sleep(LOOK_MAX).await;
    }
}

async fn status(address: &Address, probe: Probe<'_>) -> Option<u16> {
    let stream = TokioIo::new(address.connect().await.ok()?);
    let request = Request::builder().header(header::USER_AGENT, "mayfly-readiness");
    match probe.protocol {
        Protocol::Http1 => {
            let (mut sender, connection) = http1::handshake(stream).await.ok()?;
            let request = request.uri(probe.path).header(header::HOST, "localhost");
            answered(sender.send_request(request.body(Empty::<bytes::Bytes>::new()).ok()?), connection).await
        }
        Protocol::H2c => {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.ok()?;
            let request = request.uri(format!("http://localhost{}", probe.path));
            answered(sender.send_request(request.body(Empty::<bytes::Bytes>::new()).ok()?), connection).await
        }
    }
}

/// The status, where the connection lives so long.
async fn answered(
    response: impl Future<Output = hyper::Result<Response<Incoming>>>,
    connection: impl Future<Output = hyper::Result<()>>,
) -> Option<u16> {
    let mut response = std::pin::pin!(response);
    tokio::select! {
        response = &mut response => response.ok().map(|response| response.status().as_u16()),
        _ = connection => response.await.ok().map(|response| response.status().as_u16()),
    }
}

async fn polled(init: Option<watch::Receiver<Init>>) -> Result<(), Fault> {
    let Some(mut init) = init else { return Err(Fault::internal("an instance without a Runtime API")) };
    match init.wait_for(|init| *init != Init::Loading).await.as_deref() {
        Ok(Init::Failed(fault)) => Err(fault.clone()),
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::internal("the Runtime API ended")),
    }
}
