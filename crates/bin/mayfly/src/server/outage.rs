//! A rehearsed outage: control ends its term and the fleet gets no more time, as if both hung, while gateway, dispatch and
//! agent go on. For tests and drills, behind `up --rehearse-outages`: SIGUSR1 begins one, the next SIGUSR1 ends it.

use std::pin::pin;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Waits for outages; without the option there is none.
pub(super) struct Outages {
    signals: Option<Signal>,
    out: watch::Sender<bool>,
}

impl Outages {
    /// # Errors
    /// Where the signal cannot be heard.
    pub(super) fn new(rehearse: bool) -> std::io::Result<Self> {
        let signals = rehearse.then(|| signal(SignalKind::user_defined1())).transpose()?;
        Ok(Self { signals, out: watch::Sender::new(false) })
    }

    /// What `task` has to do, and nothing of it during an outage.
    pub(super) fn frozen<F: Future<Output = ()>>(&self, task: F) -> impl Future<Output = ()> + use<F> {
        let mut out = self.out.subscribe();
        async move {
            let mut task = pin!(task);
            loop {
                // An error says that no outage can begin any more.
                let _ = out.wait_for(|out| !out).await;
                tokio::select! {
                    biased;
                    Ok(_) = out.wait_for(|out| *out) => {}
                    () = &mut task => return,
                }
            }
        }
    }

    /// The next signal. Cancel safe.
    async fn signal(&mut self) {
        match &mut self.signals {
            Some(signals) => drop(signals.recv().await),
            None => std::future::pending().await,
        }
    }

    pub(super) async fn begins(&mut self) {
        self.signal().await;
        self.out.send_replace(true);
    }

    pub(super) async fn ends(&mut self) {
        self.signal().await;
        self.out.send_replace(false);
    }
}

impl Drop for Outages {
    /// An orderly stop needs everybody.
    fn drop(&mut self) {
        self.out.send_replace(false);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    };
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn a_frozen_task_gets_no_time() {
        let outages = Outages { signals: None, out: watch::Sender::new(false) };
        let (sender, mut receiver) = mpsc::channel(10);
        let taken = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&taken);
        let task = tokio::spawn(outages.frozen(async move {
            while receiver.recv().await.is_some() {
                counted.fetch_add(1, Relaxed);
            }
        }));
        // One thread: who yields often enough lets everybody come to rest.
        let rest = async || {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        sender.send(()).await.unwrap();
        rest().await;
        assert_eq!(taken.load(Relaxed), 1);
        outages.out.send_replace(true);
        rest().await;
        sender.send(()).await.unwrap();
        rest().await;
        assert_eq!(taken.load(Relaxed), 1);
        drop(outages);
        drop(sender);
        task.await.unwrap();
        assert_eq!(taken.load(Relaxed), 2, "an orderly stop needs everybody");
    }
}
