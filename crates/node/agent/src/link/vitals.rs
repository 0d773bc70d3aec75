//! What a link knows of the instance behind it, and the fault that its death means.

use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use types::{Code, Fault, InstanceId, Revision, unit::Bytes};
use wire::Exit;

/// How long a broken connection waits for the news that the process is gone: the kernel tells both within
/// microseconds, a busy host later.
const NEWS: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub(crate) struct Vitals {
    pub(crate) id: InstanceId,
    pub(crate) revision: Arc<Revision>,
    pub(crate) exit: watch::Receiver<Option<Exit>>,
}

impl Vitals {
    /// Until the instance is no more.
    pub(crate) async fn gone(&self) {
        let _ = self.exit.clone().wait_for(Option::is_some).await;
    }

    /// Why the instance broke off in the middle of a call.
    pub(crate) async fn why_gone(&self) -> Fault {
        let _ = tokio::time::timeout(NEWS, self.gone()).await;
        let exit = self.exit.borrow().clone();
        match exit {
            Some(exit) => death(&exit),
            None => Fault::new(Code::ResponseInvalid, "the function hung up before its answer was complete"),
        }
    }

    pub(crate) fn overdue(&self) -> Fault {
        Fault::new(Code::FunctionTimeout, format!("no answer within {}", self.revision.spec.timeout))
    }
}

/// The fault that an exit during a call means.
pub(crate) fn death(exit: &Exit) -> Fault {
    match exit {
        Exit::Stopped => Fault::new(Code::ShuttingDown, "the instance was stopped during the call"),
        Exit::Status(status) => Fault::new(Code::FunctionExited, format!("the process ended with status {status}")),
        Exit::Signal(signal) => Fault::new(Code::FunctionExited, format!("the process was ended by signal {signal}")),
        Exit::Memory { used, limit } => {
            let mib = |bytes: u64| Bytes(bytes >> 20 << 20);
            Fault::new(Code::MemoryExceeded, format!("the instance held {} of {}", mib(*used), mib(*limit)))
        }
        Exit::Deadline => Fault::new(Code::FunctionExited, "the instance was ended because another call overran"),
    }
}
