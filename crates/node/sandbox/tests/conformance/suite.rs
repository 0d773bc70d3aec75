//! What every sandbox must do: asked through the trait alone.

use crate::scene::{self, Check, Scene, finish, hear, pids, until_gone};
use sandbox::{Error, Exit, Limits, Plan};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};
use types::Code;

macro_rules! checks {
    ($($name:ident),* $(,)?) => {
        pub const ALL: &[(&str, crate::scene::Check)] = &[$((stringify!($name), |scene| Box::pin($name(scene)))),*];
    };
}
pub(crate) use checks;

const _: &[(&str, Check)] = ALL;

checks![
    a_status_and_a_signal_are_told,
    the_environment_is_what_was_given,
    the_folder_is_its_own_and_goes_with_it,
    privileges_are_gone,
    signals_are_as_a_fresh_process_has_them,
    no_descriptor_leaks,
    limits_hold,
    output_is_captured_apart,
    unread_output_can_be_counted,
    a_program_that_hears_sigterm_ends_by_itself,
    a_program_deaf_to_sigterm_is_killed,
    the_grace_is_kept,
    a_kill_leaves_nothing,
    a_kill_catches_who_keeps_forking,
    an_end_leaves_nothing,
    dropping_the_handle_kills,
    dropping_the_start_ends_it,
    memory_is_what_it_holds,
    cpu_is_what_it_used,
    a_program_that_cannot_start_is_explained,
    instances_do_not_disturb_each_other,
];

async fn a_status_and_a_signal_are_told(scene: &Scene) {
    assert_eq!(scene.run(scene.shell("exit 0")).await.exit, Exit::Status(0));
    assert_eq!(scene.run(scene.shell("exit 7")).await.exit, Exit::Status(7));
    assert_eq!(scene.run(scene.shell("kill -9 $$")).await.exit, Exit::Signal(9));
    // By name, from the plan's own PATH.
    assert_eq!(scene.run(scene.plan("sh", &["-c", "exit 3"])).await.exit, Exit::Status(3));
}

async fn the_environment_is_what_was_given(scene: &Scene) {
    let none = Plan { env: vec![], ..scene.plan("/usr/bin/env", &[]) };
    assert_eq!(scene.run(none).await.stdout, "");
    let env = vec![("A".to_owned(), "1 = 2".to_owned()), ("B".to_owned(), "ä\n!".to_owned())];
    let some = Plan { env, ..scene.plan("/usr/bin/env", &["-0"]) };
    assert_eq!(scene.run(some).await.stdout, "A=1 = 2\0B=ä\n!\0");
    for (name, value) in [("A=B", "x"), ("", "x"), ("A", "x\0y")] {
        let bad = Plan { env: vec![(name.into(), value.into())], ..scene.shell("exit 0") };
        assert!(matches!(scene.sandbox().start(bad).await, Err(Error::Program { .. })), "{name:?}");
    }
}

async fn the_folder_is_its_own_and_goes_with_it(scene: &Scene) {
    let plan = scene.shell("");
    let tmp = plan.tmp.clone();
    let script = format!(
        "pwd; umask; cd {0} && stat -c %a . && mkdir -p a/b && echo x > a/b/c && chmod 0 a && echo ready && sleep 1000",
        tmp.display()
    );
    let cwd = scene.folder.path().canonicalize().unwrap();
    let mut running = scene.start(Plan { args: vec!["-c".into(), script], cwd: cwd.clone(), ..plan }).await;
    hear(&mut running.stdout, &format!("{}\n0022\n700\nready", cwd.display())).await;
    assert!(tmp.exists());
    running.instance.kill();
    running.instance.wait().await;
    scene.process.idle().await;
    assert!(!tmp.exists());
}

fn field<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

async fn privileges_are_gone(scene: &Scene) {
    let status = scene.run(scene.plan("/bin/cat", &["/proc/self/status"])).await.stdout;
    assert_eq!(field(&status, "NoNewPrivs:"), "1");
    for kind in ["CapEff:", "CapPrm:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(field(&status, kind), 16), Ok(0), "{kind}");
    }
    if scene::is_root() {
        for kind in ["Uid:", "Gid:"] {
            let ids: Vec<u32> = field(&status, kind).split_whitespace().map(|id| id.parse().unwrap()).collect();
            assert!(ids[0] != 0 && ids.iter().all(|id| *id == ids[0]), "{kind} {ids:?}");
        }
        assert_eq!(field(&status, "Groups:"), "");
        // The parent is out of reach.
        let script = "kill -9 $PPID; kill -STOP $PPID; cat /proc/$PPID/environ; ls /proc/$PPID/fd; echo done";
        let done = scene.run(scene.shell(script)).await;
        assert_eq!((&*done.stdout, done.exit), ("done\n", Exit::Status(0)), "{done:?}");
        assert_eq!(done.stderr.matches("not permitted").count(), 2, "{done:?}");
        assert_eq!(done.stderr.matches("ermission denied").count(), 2, "{done:?}");
    }
}

async fn signals_are_as_a_fresh_process_has_them(scene: &Scene) {
    let status = scene.run(scene.plan("/bin/cat", &["/proc/self/status"])).await.stdout;
    for kind in ["SigBlk:", "SigIgn:", "SigCgt:"] {
        assert_eq!(u64::from_str_radix(field(&status, kind), 16), Ok(0), "{kind}");
    }
}

async fn no_descriptor_leaks(scene: &Scene) {
    // The shell's own, without one for a listing.
    let script = "for fd in 0 1 2 3 4 5 6 7 8 9 10 20 30; do [ -e /proc/$$/fd/$fd ] && echo $fd; done; cat";
    assert_eq!(scene.run(scene.shell(script)).await.stdout, "0\n1\n2\n");
}

async fn limits_hold(scene: &Scene) {
    let text = scene.run(scene.plan("/bin/cat", &["/proc/self/limits"])).await.stdout;
    let both = |name| field(&text, name).split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(both("Max open files"), ["1024", "1024"]);
    assert_eq!(both("Max core file size"), ["0", "0"]);
    let emfile = format!("100 {}\n", libc::EMFILE);
    let few = Limits { files: 100, processes: 40 };
    assert_eq!(scene.run(Plan { limits: few, ..scene.actor(&["files"]) }).await.stdout, emfile);
    if scene::is_root() {
        assert_eq!(both("Max processes"), ["1024", "1024"]);
        // Exact, because nobody else has this user: two at a time, each has its 40.
        let plan = || Plan { limits: few, ..scene.actor(&["threads"]) };
        let (one, two) = tokio::join!(scene.run(plan()), scene.run(plan()));
        assert_eq!((one.stdout.trim(), two.stdout.trim()), ("40", "40"));
    }
}

async fn output_is_captured_apart(scene: &Scene) {
    let done = scene.run(scene.shell("echo out; echo err >&2; echo again > /dev/stdout")).await;
    assert_eq!((&*done.stdout, &*done.stderr), ("out\nagain\n", "err\n"));
    let much = scene.run(scene.shell("head -c 3000000 /dev/zero | tr '\\0' x")).await;
    assert_eq!(much.stdout.len(), 3_000_000);
}

async fn unread_output_can_be_counted(scene: &Scene) {
    let running = scene.start(scene.shell("echo 12345; sleep 1000")).await;
    let unread = || rustix::io::ioctl_fionread(&running.stdout).unwrap();
    scene::until("six bytes are unread", || unread() == 6).await;
    running.instance.kill();
    running.instance.wait().await;
    assert_eq!(unread(), 6, "what was written outlives the instance");
}

async fn a_program_that_hears_sigterm_ends_by_itself(scene: &Scene) {
    let script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.01; done";
    let mut running = scene.start(scene.shell(script)).await;
    hear(&mut running.stdout, "ready").await;
    running.instance.terminate();
    let done = finish(running).await;
    assert_eq!((&*done.stdout, done.exit), ("bye\n", Exit::Status(5)));
}

async fn a_program_deaf_to_sigterm_is_killed(scene: &Scene) {
    let mut running = scene.start(scene.shell("trap '' TERM; echo ready; while :; do sleep 0.01; done")).await;
    hear(&mut running.stdout, "ready").await;
    running.instance.terminate();
    let still = tokio::time::timeout(Duration::from_millis(200), running.instance.wait()).await;
    assert!(still.is_err(), "it ignores SIGTERM: {still:?}");
    running.instance.kill();
    assert_eq!(running.instance.wait().await, Exit::Signal(9));
    running.instance.kill();
    running.instance.terminate();
}

async fn the_grace_is_kept(scene: &Scene) {
    let script = scene.shell("trap '' TERM; echo ready; while :; do sleep 0.01; done");
    let mut running = scene.start(Plan { grace: Duration::from_millis(100), ..script }).await;
    hear(&mut running.stdout, "ready").await;
    let begun = std::time::Instant::now();
    running.instance.terminate();
    running.instance.terminate();
    assert_eq!(running.instance.wait().await, Exit::Signal(9));
    assert!(begun.elapsed() >= Duration::from_millis(100));
}

async fn a_kill_leaves_nothing(scene: &Scene) {
    let file = scene.path("open/pids");
    let mut running = scene.start(scene.actor(&["tree", file.to_str().unwrap()])).await;
    hear(&mut running.stdout, "ready").await;
    let family = pids(&file);
    assert_eq!(family.len(), 3);
    assert!(family.iter().all(|pid| scene::is_alive(*pid)) && family.contains(&(running.instance.pid() as i32)));
    running.instance.kill();
    assert_eq!(running.instance.wait().await, Exit::Signal(9));
    assert!(!family.iter().any(|pid| scene::is_alive(*pid)), "gone once the exit is told, not later");
}

async fn a_kill_catches_who_keeps_forking(scene: &Scene) {
    let file = scene.path("open/pids");
    // Without a user of their own, only so many can be caught for sure.
    let chains = if scene::is_root() { "30" } else { "2" };
    let plan = scene.actor(&["hop", chains, file.to_str().unwrap()]);
    let mut running = scene.start(Plan { limits: Limits { processes: 200, files: 100 }, ..plan }).await;
    hear(&mut running.stdout, "ready").await;
    running.instance.kill();
    assert_eq!(running.instance.wait().await, Exit::Signal(9));
    // Whoever is left has the output open.
    assert_eq!(tokio::io::AsyncReadExt::read(&mut running.stdout, &mut [0]).await.unwrap(), 0);
}

async fn an_end_leaves_nothing(scene: &Scene) {
    let file = scene.path("open/pids");
    let done = scene.run(scene.actor(&["litter", file.to_str().unwrap()])).await;
    assert_eq!((&*done.stdout, done.exit), ("ready\n", Exit::Status(0)));
    let family = pids(&file);
    assert_eq!(family.len(), 3);
    assert!(!family.iter().any(|pid| scene::is_alive(*pid)));
}

async fn dropping_the_handle_kills(scene: &Scene) {
    let file = scene.path("open/pids");
    let mut running = scene.start(scene.actor(&["tree", file.to_str().unwrap()])).await;
    hear(&mut running.stdout, "ready").await;
    let mut exits = running.instance.exits();
    drop(running);
    assert_eq!(*exits.wait_for(Option::is_some).await.unwrap(), Some(Exit::Signal(9)));
    until_gone(&pids(&file)).await;
}

async fn dropping_the_start_ends_it(scene: &Scene) {
    for polls in 1..8 {
        let plan = scene.shell("sleep 1000");
        let tmp = plan.tmp.clone();
        let start = scene.sandbox().start(plan);
        // Given up at another moment each time.
        drop(tokio::time::timeout(Duration::from_micros(polls * 700), start).await);
        scene.process.idle().await;
        assert!(!tmp.exists());
    }
}

async fn memory_is_what_it_holds(scene: &Scene) {
    let mut running = scene.start(scene.actor(&["memory", "64"])).await;
    hear(&mut running.stdout, "ready").await;
    // Up to 100 ms old.
    scene::until("64 MiB are seen", || running.instance.memory() >= 64 << 20).await;
    let held = running.instance.memory();
    assert!(running.instance.memory_over(held / 2).is_some_and(|over| over > held / 2));
    assert_eq!(running.instance.memory_over(held * 2), None);
    assert!(held < 80 << 20, "{held}");
    running.instance.kill();
    running.instance.wait().await;
    scene::until("nothing is held", || running.instance.memory() == 0).await;
}

async fn cpu_is_what_it_used(scene: &Scene) {
    let mut running = scene.start(scene.actor(&["spin"])).await;
    hear(&mut running.stdout, "ready").await;
    scene::until("CPU time is seen", || running.instance.cpu() >= Duration::from_millis(50)).await;
    assert!(running.instance.cpu() < Duration::from_secs(2), "{:?}", running.instance.cpu());
}

async fn a_program_that_cannot_start_is_explained(scene: &Scene) {
    let file = |name: &str, text: &str, mode| {
        let path = scene.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let no_cwd = Plan { cwd: scene.path("no-cwd"), ..scene.shell("exit 0") };
    let mut cases = vec![
        (scene.plan("/no/such/program", &[]), "/no/such/program does not exist (what exists is /)"),
        (scene.plan("no-such-program", &[]), "no file of this name is in PATH"),
        (Plan { env: vec![], ..scene.plan("sh", &[]) }, "no PATH"),
        (scene.plan(file("plain", "x", 0o644), &[]), "not executable"),
        (scene.plan(file("script", "#!/no/interpreter\n", 0o755), &[]), "/no/interpreter does not exist"),
        (scene.plan(file("garbage", "garbage", 0o755), &[]), "neither a program for this machine nor a script"),
        (scene.plan(scene.folder.path(), &[]), "not a file"),
        (no_cwd, "no-cwd does not exist"),
    ];
    if scene::is_root() {
        let inner = file("closed/program", "#!/bin/sh\n", 0o755);
        fs::set_permissions(scene.path("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        cases.push((scene.plan(inner, &[]), "cannot pass through the folder"));
        cases.push((Plan { cwd: scene.path("closed"), ..scene.shell("exit 0") }, "closed (mode 0700, owner 0)"));
        let tmp = Plan { tmp: scene.path("closed/tmp"), ..scene.shell("exit 0") };
        let error = scene.sandbox().start(tmp).await.unwrap_err();
        assert!(matches!(&error, Error::Unreachable(text) if text.contains("closed (mode 0700")), "{error}");
    }
    for (plan, words) in cases {
        let tmp = plan.tmp.clone();
        let error = scene.sandbox().start(plan).await.unwrap_err();
        assert!(error.to_string().contains(words), "`{words}` is not in `{error}`");
        assert_eq!(error.fault().code, Code::StartFailed, "{error}");
        assert!(!Path::new(&tmp).exists());
    }
}

async fn instances_do_not_disturb_each_other(scene: &Scene) {
    let script = |n: usize| scene.shell(&format!("id -u; echo {n}; exit {n}"));
    let runs: Vec<_> = (0..16).map(|n| scene.run(script(n))).collect();
    let mut users = Vec::new();
    // All are under way together: each future was begun by the first poll of the set.
    for (n, done) in join_all(runs).await.into_iter().enumerate() {
        let (user, rest) = done.stdout.split_once('\n').unwrap();
        assert_eq!((rest, done.exit), (&*format!("{n}\n"), Exit::Status(n as i32)));
        users.push(user.to_owned());
    }
    users.sort();
    users.dedup();
    assert_eq!(users.len(), if scene::is_root() { 16 } else { 1 });
}

/// All of them at once, in order.
pub async fn join_all<T: Send>(futures: Vec<impl Future<Output = T> + Send>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (future, done) in futures.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            match future.as_mut().poll(cx) {
                std::task::Poll::Ready(value) => *done = Some(value),
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    done.into_iter().flatten().collect()
}
