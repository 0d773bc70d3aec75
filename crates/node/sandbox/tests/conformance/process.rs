//! What the process sandbox does beyond the trait: the deaths of platform and guest, records, the sweep.

use crate::{
    scene::{self, PATIENCE, Scene, Stage, guest_of, hear, is_alive, options, pids, signal, until, until_gone},
    suite::checks,
};
use rustix::process::Signal;
use sandbox::{Error, Exit, Limits, Mode, Plan, Process, Sandbox, Swept};
use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::{
        fd::OwnedFd,
        unix::{fs::MetadataExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
};
use types::InstanceId;

checks![
    the_platforms_death_ends_all,
    what_platform_and_guest_leave_is_swept,
    a_guests_death_ends_its_code,
    a_guest_that_hangs_is_done_without,
    a_recycled_pid_is_not_touched,
    a_bystander_in_the_session_is_not_touched,
    a_running_instance_is_not_swept,
    two_platforms_do_not_share_a_folder,
    isolation_is_told,
];

/// A platform of its own that starts a family and is killed with it running.
struct Platform {
    process: Child,
    family: Vec<i32>,
    guest: i32,
    id: InstanceId,
    folder: PathBuf,
}

impl Platform {
    fn start(scene: &Scene) -> Self {
        let folder = scene.path("other");
        fs::create_dir(&folder).unwrap();
        let pids_file = scene.path("open/family");
        let mut process = Command::new(env::current_exe().unwrap())
            .args([Path::new("platform"), &folder, &pids_file, &scene.stage.actor()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let id: InstanceId = line.trim().parse().unwrap();
        let family = pids(&pids_file);
        assert!(family.len() == 3 && family.iter().all(|pid| is_alive(*pid)), "{family:?}");
        Self { guest: guest_of(&folder, id), process, family, id, folder }
    }

    fn record(&self) -> PathBuf {
        self.folder.join(format!("run/instances/{}.json", self.id))
    }

    fn tmp(&self) -> PathBuf {
        self.folder.join("tmp")
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// The other platform: `folder`, file for pids, program of the actor.
pub fn platform(args: &[PathBuf]) -> ExitCode {
    let [folder, file, actor] = args else { panic!("{args:?}") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let process = Process::new(options(folder)).unwrap();
        let plan = Plan {
            id: InstanceId::random(),
            program: actor.clone(),
            args: vec!["actor".into(), "tree".into(), file.to_str().unwrap().into()],
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            cwd: "/".into(),
            tmp: folder.join("tmp"),
            limits: Limits::default(),
            mode: Mode::Serve,
            grace: PATIENCE,
        };
        let mut running = process.start(plan).await.unwrap();
        hear(&mut running.stdout, "ready").await;
        println!("{}", running.instance.id());
        running.instance.wait().await;
    });
    ExitCode::SUCCESS
}

async fn the_platforms_death_ends_all(scene: &Scene) {
    let mut platform = Platform::start(scene);
    platform.process.kill().unwrap();
    until_gone(&platform.family).await;
    until_gone(&[platform.guest]).await;
    platform.process.wait().unwrap();
    // What is on the disk goes with the next start.
    assert!(platform.record().exists() && platform.tmp().exists());
    let next = Process::new(options(&platform.folder)).unwrap();
    assert_eq!(next.sweep().await.unwrap(), Swept { instances: 1, processes: 0 });
    assert!(!platform.record().exists() && !platform.tmp().exists());
}

async fn what_platform_and_guest_leave_is_swept(scene: &Scene) {
    let mut platform = Platform::start(scene);
    // Stopped first, so that the guest cannot see the platform's death.
    signal(platform.guest, Signal::STOP);
    platform.process.kill().unwrap();
    platform.process.wait().unwrap();
    signal(platform.guest, Signal::KILL);
    until_gone(&[platform.guest]).await;
    assert!(platform.family.iter().all(|pid| is_alive(*pid)), "orphans");
    let next = Process::new(options(&platform.folder)).unwrap();
    assert_eq!(next.sweep().await.unwrap(), Swept { instances: 1, processes: 3 });
    assert!(!platform.family.iter().any(|pid| is_alive(*pid)));
    assert!(!platform.record().exists() && !platform.tmp().exists());
    assert_eq!(next.sweep().await.unwrap(), Swept::default());
}

async fn a_guests_death_ends_its_code(scene: &Scene) {
    let file = scene.path("open/pids");
    let mut running = scene.start(scene.actor(&["tree", file.to_str().unwrap()])).await;
    hear(&mut running.stdout, "ready").await;
    signal(guest_of(scene.folder.path(), running.instance.id()), Signal::KILL);
    assert_eq!(running.instance.wait().await, Exit::Signal(9));
    assert!(!pids(&file).iter().any(|pid| is_alive(*pid)));
}

async fn a_guest_that_hangs_is_done_without(scene: &Scene) {
    let file = scene.path("open/pids");
    let mut running = scene.start(scene.actor(&["tree", file.to_str().unwrap()])).await;
    hear(&mut running.stdout, "ready").await;
    signal(guest_of(scene.folder.path(), running.instance.id()), Signal::STOP);
    running.instance.kill();
    running.instance.wait().await;
    assert!(!pids(&file).iter().any(|pid| is_alive(*pid)));
}

/// A record as an earlier platform would have left it.
fn write_record(scene: &Scene, guest: &Child, start: u64, boot: &str, pipe: u64) -> PathBuf {
    let (id, tmp) = (InstanceId::random(), scene.path("stale"));
    fs::create_dir(&tmp).unwrap();
    let record = serde_json::json!({
        "id": id, "guest": guest.id(), "start": start, "boot": boot, "uid": null, "pipes": [pipe, pipe], "tmp": tmp,
        "socket": null,
    });
    fs::write(scene.path(&format!("run/instances/{id}.json")), record.to_string()).unwrap();
    tmp
}

fn start_of(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap()
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
}

async fn a_recycled_pid_is_not_touched(scene: &Scene) {
    let boot = boot();
    let mut bystander = Command::new("sleep").arg("1000").spawn().unwrap();
    let start = start_of(bystander.id());
    // Another start; then another boot.
    for (start, boot) in [(start - 1, &*boot), (start, "another boot")] {
        let tmp = write_record(scene, &bystander, start, boot, 1);
        assert_eq!(scene.process.sweep().await.unwrap(), Swept { instances: 1, processes: 0 });
        assert!(!tmp.exists());
        assert!(bystander.try_wait().unwrap().is_none(), "the bystander lives");
    }
    // The same record with the right start is heeded, so the above is no accident.
    write_record(scene, &bystander, start, &boot, 1);
    let sweep = tokio::spawn({
        let process = scene.process.clone();
        async move { process.sweep().await }
    });
    until("it is killed", || bystander.try_wait().unwrap().is_some()).await;
    assert_eq!(sweep.await.unwrap().unwrap(), Swept { instances: 1, processes: 1 });
}

/// A guest that was killed before it had a session of its own was in that of this test, of the shell, of anybody.
async fn a_bystander_in_the_session_is_not_touched(scene: &Scene) {
    let mut bystander = Command::new("sleep").arg("1000").spawn().unwrap();
    let mut gone = Command::new("true").spawn().unwrap();
    let start = start_of(gone.id());
    gone.wait().unwrap();
    let (_reading, writing) = std::io::pipe().unwrap();
    let inode = fs::File::from(OwnedFd::from(writing.try_clone().unwrap())).metadata().unwrap().ino();
    let mut orphan = Command::new("sleep").arg("1000").stdout(writing).spawn().unwrap();
    write_record(scene, &gone, start, &boot(), inode);
    let sweep = tokio::spawn({
        let process = scene.process.clone();
        async move { process.sweep().await }
    });
    until("the orphan is killed", || orphan.try_wait().unwrap().is_some()).await;
    assert_eq!(sweep.await.unwrap().unwrap(), Swept { instances: 1, processes: 1 });
    assert!(bystander.try_wait().unwrap().is_none(), "the bystander lives");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

async fn a_running_instance_is_not_swept(scene: &Scene) {
    let mut running = scene.start(scene.shell("echo ready; sleep 1000")).await;
    hear(&mut running.stdout, "ready").await;
    assert_eq!(scene.process.sweep().await.unwrap(), Swept::default());
    assert!(is_alive(running.instance.pid() as i32));
}

async fn two_platforms_do_not_share_a_folder(scene: &Scene) {
    assert!(matches!(Process::new(options(scene.folder.path())), Err(Error::Locked(_))));
}

async fn isolation_is_told(scene: &Scene) {
    let text = scene.sandbox().isolation().to_string();
    let (holds, lacks) = text.split_once("; lacks: ").unwrap();
    assert_eq!(holds.contains("own user per instance"), scene::is_root(), "{text}");
    assert!(lacks.contains("namespaces") && text.ends_with("for one tenant only"), "{text}");
}

/// Runs this program again as `nobody`, as it would run on a developer's machine.
pub fn all_as_an_ordinary_user(stage: &Stage) -> Result<(), String> {
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    std::os::unix::fs::chown(home.path(), Some(65_534), Some(65_534)).map_err(|error| error.to_string())?;
    let output = Command::new(stage.actor())
        .args(["--test-threads", "4"])
        .env("TMPDIR", home.path())
        .uid(65_534)
        .gid(65_534)
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stdout).into_owned()) }
}
