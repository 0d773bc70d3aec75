//! The task that an instance has for its life: brings the plan to the guest, passes orders on, tells the end, cleans up.

use crate::{
    Error, Exit, Instance, Plan, Running,
    control::{Control, Document, Failure, Order, Report},
    launch::{Claim, Ends, Launched, launch},
    process::Inner,
    reach,
    record::Record,
    sweep,
    table::{Keeper, Shared},
};
use std::{io, os::unix::process::ExitStatusExt, process::Child, sync::Arc, time::Duration};
use tokio::{
    net::unix::pipe,
    sync::{oneshot, watch},
    task::spawn_blocking,
    time::{Instant, sleep_until, timeout},
};
use types::InstanceId;

/// From the plan to the program's exec; a busy machine needs some 10 ms.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// From the order to kill to the guest's end. Then it is taken for hanging and its work done for it.
const KILL_PATIENCE: Duration = Duration::from_secs(3);
/// How old a table of processes may be for metering. Reading it costs some 10 µs for each process of the machine, and
/// it only says which processes there are: what each holds is read afresh.
const TABLE_AGE: Duration = Duration::from_secs(1);
/// The same where the table itself holds the figure.
const CPU_TABLE_AGE: Duration = Duration::from_millis(100);

/// What is wanted of the instance; it never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    Run,
    Terminate,
    Kill,
}

#[derive(Debug)]
struct Handle {
    id: InstanceId,
    pid: u32,
    user: u32,
    keeper: Keeper,
    table: Arc<Shared>,
    wanted: watch::Sender<Wanted>,
    exits: watch::Receiver<Option<Exit>>,
}

impl Handle {
    fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|now| {
            let more = *now < wanted;
            *now = wanted.max(*now);
            more
        });
    }
}

impl Instance for Handle {
    fn id(&self) -> InstanceId {
        self.id
    }
    fn pid(&self) -> u32 {
        self.pid
    }
    fn user(&self) -> u32 {
        self.user
    }
    fn terminate(&self) {
        self.want(Wanted::Terminate);
    }
    fn kill(&self) {
        self.want(Wanted::Kill);
    }
    fn exits(&self) -> watch::Receiver<Option<Exit>> {
        self.exits.clone()
    }
    fn memory(&self) -> u64 {
        self.keeper.memory(&self.table.get(TABLE_AGE))
    }
    fn memory_over(&self, limit: u64) -> Option<u64> {
        self.keeper.memory_over(&self.table.get(TABLE_AGE), limit)
    }
    fn cpu(&self) -> Duration {
        self.keeper.cpu(&self.table.get(CPU_TABLE_AGE))
    }
}

type Started = oneshot::Sender<Result<Running, Error>>;

/// Starts the instance, answers `started`, and stays until nothing of it is left.
pub(crate) async fn run(inner: Arc<Inner>, plan: Plan, mut started: Started) {
    let (launching, planned) = (inner.clone(), plan.clone());
    let launched = match spawn_blocking(move || launch(&launching, &planned)).await {
        Ok(Ok(launched)) => launched,
        Ok(Err(error)) => return answer(started, Err(error)),
        Err(_) => return answer(started, Err(Error::Stopping)),
    };
    let Launched { child, record, claim, program, ends } = launched;
    let plan = Plan { program, ..plan };
    let (exited, exits) = watch::channel(None);
    let begun = tokio::select! {
        begun = begin(&inner, &plan, claim.uid, ends, exits) => begun,
        // Whoever wanted it is gone; so is the control socket with the other branch.
        () = started.closed() => Err(Error::Stopping),
    };
    match begun {
        Ok((running, mut control, orders)) => {
            // Where nobody takes it any more, its handle is dropped here, which kills it.
            answer(started, Ok(running));
            let exit = attend(&mut control, orders).await;
            drop(control);
            let exit = bury(&inner, child, &record, exit).await;
            exited.send_replace(Some(exit));
            remove(&inner, record, claim).await;
        }
        Err(error) => {
            // A program that cannot be executed left nothing; after any other failure something may run.
            let ended = matches!(error, Error::Program { .. }).then_some(Exit::Status(0));
            bury(&inner, child, &record, ended).await;
            remove(&inner, record, claim).await;
            answer(started, Err(error));
        }
    }
}

fn answer(started: Started, outcome: Result<Running, Error>) {
    let _gone = started.send(outcome);
}

/// Gives the guest its plan and waits for the word that it runs.
async fn begin(
    inner: &Inner,
    plan: &Plan,
    uid: Option<u32>,
    ends: Ends,
    exits: watch::Receiver<Option<Exit>>,
) -> Result<(Running, Control, watch::Receiver<Wanted>), Error> {
    let Ends { control, stdout, stderr, keeper, processes } = ends;
    let mut control = Control::new(control).map_err(Error::io("cannot use the guest's socket"))?;
    let read = |end| pipe::Receiver::from_owned_fd(end).map_err(Error::io("cannot read a pipe"));
    let (stdout, stderr) = (read(stdout)?, read(stderr)?);
    let document = Document::new(plan, uid, processes).ok_or_else(|| Error::Plan("a path is not UTF-8".into()))?;
    let report = timeout(START_PATIENCE, async {
        control.send(&document).await?;
        control.next().await
    });
    let pid = match report.await {
        Ok(Ok(Some(Report::Started { pid }))) => pid,
        Ok(Ok(Some(Report::ExecFailed(failure)))) => return Err(refused(plan, uid, failure)),
        Ok(Ok(_)) => return Err(Error::Guest("it ended before it started the code".into())),
        Ok(Err(error)) => return Err(Error::io("cannot talk to the guest")(error)),
        Err(_) => return Err(Error::Guest(format!("it started nothing in {START_PATIENCE:?}"))),
    };
    let (wanted, orders) = watch::channel(Wanted::Run);
    let user = uid.unwrap_or_else(|| rustix::process::getuid().as_raw());
    let handle = Handle { id: plan.id, pid, user, keeper, table: inner.table.clone(), wanted, exits };
    Ok((Running { instance: Arc::new(handle), stdout, stderr }, control, orders))
}

fn refused(plan: &Plan, uid: Option<u32>, failure: Failure) -> Error {
    let Failure { step, errno, text } = failure;
    let why = match step.as_str() {
        "chdir" | "exec" => reach::explain(&plan.program, &plan.cwd, uid, &step, &io::Error::from_raw_os_error(errno)),
        _ => format!("{step}: {text}"),
    };
    Error::Program { program: plan.program.clone(), why }
}

/// Passes orders on until the guest has gone; how user code ended, where the guest told. `None` also where it hangs.
async fn attend(control: &mut Control, mut orders: watch::Receiver<Wanted>) -> Option<Exit> {
    let mut exit = None;
    let mut hangs_at = None;
    loop {
        tokio::select! {
            report = control.next() => match report {
                Ok(Some(Report::Exited(end))) => exit = Some(end.into()),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return exit,
            },
            changed = orders.changed(), if hangs_at.is_none() => {
                // The last handle is gone: nobody could end it later.
                let wanted = changed.map_or(Wanted::Kill, |()| *orders.borrow_and_update());
                match wanted {
                    Wanted::Run => {}
                    Wanted::Terminate => {
                        let _its_end_is_read_next = control.send(&Order::Terminate).await;
                    }
                    Wanted::Kill => {
                        control.end();
                        hangs_at = Some(Instant::now() + KILL_PATIENCE);
                    }
                }
            }
            () = sleep_until(hangs_at.unwrap_or_else(Instant::now)), if hangs_at.is_some() => return exit,
        }
    }
}

/// Waits for the guest's end; where the guest did not tell `exit`, does its work. No process is left then.
async fn bury(inner: &Arc<Inner>, mut child: Child, record: &Record, exit: Option<Exit>) -> Exit {
    let (inner, record) = (inner.clone(), record.clone());
    let buried = spawn_blocking(move || {
        if exit.is_none() {
            match sweep::end(&inner, &record) {
                Ok(killed) => tracing::warn!(id = %record.id, killed, "a guest was killed or hung; its code is ended"),
                Err(error) => tracing::error!(id = %record.id, %error, "cannot end an instance"),
            }
        }
        let status = child.wait().ok();
        exit.or_else(|| status.and_then(|status| status.signal()).map(Exit::Signal))
    });
    buried.await.ok().flatten().unwrap_or(Exit::Signal(libc::SIGKILL))
}

/// Removes the instance's files, then gives its user and its place back.
async fn remove(inner: &Arc<Inner>, record: Record, claim: Claim) {
    let inner = inner.clone();
    let removed = spawn_blocking(move || {
        sweep::clear(&inner, &record);
        drop(claim);
    });
    let _stopping = removed.await;
}
