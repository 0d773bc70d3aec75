//! Starts the guest of an instance: everything that blocks, up to the point where the guest waits for its plan.

use crate::{
    Error, Mode, Plan,
    process::Inner,
    reach,
    record::{self, Record},
    sweep,
    table::{Keeper, Line},
};
use std::{
    fs,
    io::{self, PipeReader, PipeWriter},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt, MetadataExt, chown, fchown},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use types::InstanceId;

/// A guest that waits for its plan.
pub(crate) struct Launched {
    pub(crate) child: Child,
    pub(crate) record: Record,
    pub(crate) claim: Claim,
    /// The program's path, found.
    pub(crate) program: PathBuf,
    pub(crate) ends: Ends,
}

/// The platform's ends of what it shares with the guest, and what is known of it.
pub(crate) struct Ends {
    pub(crate) control: UnixStream,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) keeper: Keeper,
    /// `RLIMIT_NPROC`.
    pub(crate) processes: u64,
}

/// An instance's place among the live ones and its user, given back when dropped.
pub(crate) struct Claim {
    inner: Arc<Inner>,
    id: InstanceId,
    pub(crate) uid: Option<u32>,
}

impl Claim {
    fn take(inner: &Arc<Inner>, id: InstanceId) -> Result<Self, Error> {
        if !inner.enter(id) {
            return Err(Error::Plan(format!("instance {id} runs already")));
        }
        // Made first, so that a failure gives the place back.
        let mut claim = Self { inner: inner.clone(), id, uid: None };
        claim.uid = inner.users.take()?;
        Ok(claim)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(uid) = self.uid {
            self.inner.users.give_back(uid);
        }
        self.inner.leave(self.id);
    }
}

/// Makes pipes, record and folder, and starts the guest. Blocks for about as long as an exec takes.
pub(crate) fn launch(inner: &Arc<Inner>, plan: &Plan) -> Result<Launched, Error> {
    let find = |why| Error::Program { program: plan.program.clone(), why };
    let program = reach::find(&plan.program, &plan.env).map_err(find)?;
    let claim = Claim::take(inner, plan.id)?;
    if let Some(why) = plan.tmp.parent().and_then(|parent| reach::closed(parent, claim.uid)) {
        return Err(Error::Unreachable(format!("the instance's folder {} is of no use: {why}", plan.tmp.display())));
    }
    let processes = inner.process_limit(plan, claim.uid);
    let (stdout, child_out) = pipe(claim.uid)?;
    let (stderr, child_err) = pipe(claim.uid)?;
    let pipes = [inode(&child_out)?, inode(&child_err)?];
    let (control, child_control) = UnixStream::pair().map_err(Error::io("cannot make a socket pair"))?;
    let mut child = spawn(inner, plan.id, child_control, child_out, child_err)?;
    match settle(inner, plan, &child, claim.uid, pipes) {
        Ok((keeper, record)) => {
            let ends = Ends { control, stdout: stdout.into(), stderr: stderr.into(), keeper, processes };
            Ok(Launched { child, record, claim, program, ends })
        }
        Err(error) => {
            drop(control); // The guest has no plan, so it just leaves.
            let _status = child.wait();
            Err(error)
        }
    }
}

/// One end for us, one for user code, which may open it again by `/dev/stdout` because it owns it.
fn pipe(owner: Option<u32>) -> Result<(PipeReader, PipeWriter), Error> {
    let made = io::pipe().and_then(|(reading, writing)| {
        if owner.is_some() {
            fchown(&writing, owner, owner)?;
        }
        Ok((reading, writing))
    });
    made.map_err(Error::io("cannot make a pipe"))
}

fn inode(pipe: &PipeWriter) -> Result<u64, Error> {
    let file = pipe.try_clone().map(|pipe| fs::File::from(OwnedFd::from(pipe)));
    file.and_then(|file| file.metadata()).map(|meta| meta.ino()).map_err(Error::io("cannot look at a pipe"))
}

fn spawn(inner: &Inner, id: InstanceId, control: UnixStream, out: PipeWriter, err: PipeWriter) -> Result<Child, Error> {
    let [program, args @ ..] = &*inner.options.guest else {
        return Err(Error::Guest("the options name no program for it".into()));
    };
    // Nothing here keeps std from `posix_spawn`, which does not copy the page tables of a large platform.
    Command::new(program)
        .args(args)
        .arg(id.to_string())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(control)))
        .stdout(Stdio::from(out))
        .stderr(Stdio::from(err))
        .spawn()
        .map_err(Error::io(format!("cannot start the guest {}", Path::new(program).display())))
}

/// Records the instance, then makes its folder: in this order, so that nothing is left that no record tells of.
fn settle(
    inner: &Inner,
    plan: &Plan,
    child: &Child,
    uid: Option<u32>,
    pipes: [u64; 2],
) -> Result<(Keeper, Record), Error> {
    let pid = child.id() as i32;
    let start = Line::read(pid).ok_or_else(|| Error::Guest("it is not in /proc".into()))?.start;
    let socket = match &plan.mode {
        Mode::Serve => None,
        Mode::Command { socket, .. } => Some(socket.clone()),
    };
    let tmp = std::path::absolute(&plan.tmp).map_err(Error::io("cannot tell the current folder"))?;
    if tmp.exists() {
        return Err(Error::Plan(format!("the instance's folder {} exists already", tmp.display())));
    }
    let record = Record { id: plan.id, guest: pid, start, boot: record::boot(), uid, pipes, tmp, socket };
    record.save(&inner.folder()).map_err(Error::io(format!("cannot record instance {}", plan.id)))?;
    let made = fs::DirBuilder::new().mode(0o700).create(&record.tmp).and_then(|()| match uid {
        Some(_) => chown(&record.tmp, uid, uid),
        None => Ok(()),
    });
    if let Err(error) = made {
        sweep::clear(inner, &record);
        return Err(Error::io(format!("cannot make the instance's folder {}", record.tmp.display()))(error));
    }
    Ok((Keeper { pid, start, apart: uid.is_some() }, record))
}

impl Inner {
    /// `RLIMIT_NPROC` for an instance: its own limit where the user is its own, else on top of what that user runs.
    fn process_limit(&self, plan: &Plan, uid: Option<u32>) -> u64 {
        match uid {
            Some(_) => plan.limits.processes,
            None => {
                let ours = self.table.get(Duration::from_secs(1)).threads_of(rustix::process::getuid().as_raw());
                plan.limits.processes.saturating_add(ours)
            }
        }
    }
}
