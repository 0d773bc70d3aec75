//! Runs candidates for a program until one answers, and reads version and real path from what it says.

use crate::{
    program::{Found, Program, Tool},
    reach,
};
use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// A version call that takes longer than this hangs: Maven on a busy host takes two seconds.
const PROBE_MAX: Duration = Duration::from_secs(30);
/// Java prints some 5 KB of properties.
const ANSWER_MAX: u64 = 64 << 10;

/// The first candidate that answers, and with `for_others` that everybody may execute.
///
/// # Errors
/// What was looked for and why nothing counts.
pub(crate) fn search(program: Program, folders: &[PathBuf], for_others: bool) -> Result<Found, String> {
    let mut refused = Vec::new();
    for path in candidates(folders, program.names()) {
        let found = match probe(program, &path) {
            Ok(found) => found,
            Err(why) => {
                refused.push(format!("{}: {why}", path.display()));
                continue;
            }
        };
        let usable = if for_others { reach::others_can_execute(&found.path) } else { Ok(()) };
        match usable {
            Ok(()) => return Ok(found),
            Err(why) => refused.push(format!("{}: functions run as another user, and {why}", path.display())),
        }
    }
    let names = program.names().join(" or ");
    let why = if refused.is_empty() { "it is not there".to_owned() } else { refused.join("; ") };
    let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    Err(format!("looked for {names} in {}: {why}. Install {}", folders.join(":"), program.package()))
}

/// Executable files with one of `names` in `folders`: by folder first, as a shell looks.
pub(crate) fn candidates<'a>(
    folders: &'a [PathBuf],
    names: &'static [&'static str],
) -> impl Iterator<Item = PathBuf> + 'a {
    let all = names.iter().flat_map(move |name| folders.iter().map(move |folder| folder.join(name)));
    // `/bin` is `/usr/bin` on most systems: the same place is looked at once. By folder, because a virtual environment's
    // Python is a link to another and not the same.
    let mut seen = Vec::new();
    all.filter(|path| reach::is_program(path)).filter(move |path| {
        let folder = path.parent().and_then(|folder| std::fs::canonicalize(folder).ok());
        let place = (folder, path.file_name().map(ToOwned::to_owned));
        let new = !seen.contains(&place);
        seen.push(place);
        new
    })
}

/// Runs the program at `path` for its version.
pub(crate) fn probe(program: Program, path: &Path) -> Result<Found, String> {
    let answer = answer(path, program.probe_args())?;
    let found = read_answer(program, path, &answer).ok_or_else(|| {
        let shown: String = answer.chars().take(200).collect();
        format!("its answer to {} is not understood: {shown}", program.probe_args().join(" "))
    })?;
    if program == Program::Python && !found.version.starts_with("3.") {
        return Err(format!("it is Python {}", found.version));
    }
    Ok(found)
}

/// What the program prints, both streams in one.
fn answer(path: &Path, args: &[&str]) -> Result<String, String> {
    // Two pipes would have to be read at once; Java answers on stderr and all others on stdout.
    let (reader, writer) = std::io::pipe().map_err(|e| e.to_string())?;
    let also = writer.try_clone().map_err(|e| e.to_string())?;
    let mut command = Command::new(path);
    command.args(args).stdin(Stdio::null()).stdout(writer).stderr(also).env_remove("_JAVA_OPTIONS");
    // A folder of its own: shims look for files like `.python-version` where they are started.
    command.current_dir("/");
    let mut child = spawn(&mut command).map_err(|e| format!("it does not start: {e}"))?;
    drop(command);
    let (tell, told) = mpsc::channel();
    // The thread is not joined: something that the program left behind may hold the pipe for good.
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = reader.take(ANSWER_MAX).read_to_end(&mut text);
        let _ = tell.send(String::from_utf8_lossy(&text).into_owned());
    });
    let Ok(text) = told.recv_timeout(PROBE_MAX) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("it does not answer within {PROBE_MAX:?}"));
    };
    let status = child.wait().map_err(|e| e.to_string())?;
    if status.success() { Ok(text) } else { Err(format!("it ended with {status}: {}", last_line(&text))) }
}

/// Spawns, again for a while where the file is open for writing: besides an installation at work, any process forked
/// while the file was written holds it until its own exec.
fn spawn(command: &mut Command) -> io::Result<Child> {
    for _ in 0..50 {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
    command.spawn()
}

fn last_line(text: &str) -> &str {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("").trim()
}

/// Version and real path from a program's answer.
fn read_answer(program: Program, path: &Path, answer: &str) -> Option<Found> {
    let property = |name: &str| {
        answer
            .lines()
            .find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix("= "))
            .map(str::to_owned)
    };
    let mut lines = answer.lines();
    let (version, real) = match program {
        Program::Node | Program::Python => (lines.next()?.to_owned(), lines.next().map(PathBuf::from)),
        Program::Java => {
            (property("java.version")?, property("java.home").map(|home| Path::new(&home).join("bin/java")))
        }
        // `go version go1.22.1 linux/amd64`, `cargo 1.95.0 (…)`, `Apache Maven 3.8.7`
        Program::Tool(Tool::Go) => (lines.next()?.split(' ').nth(2)?.strip_prefix("go")?.to_owned(), None),
        Program::Tool(Tool::Cargo) => (lines.next()?.strip_prefix("cargo ")?.split(' ').next()?.to_owned(), None),
        Program::Tool(Tool::Maven) => {
            let version = lines.find_map(|line| Some(line.split_once("Apache Maven ")?.1))?;
            (version.split(' ').next()?.to_owned(), None)
        }
        Program::Tool(Tool::Npm) => (last_line(answer).to_owned(), None),
    };
    let real = real.filter(|real| real.is_absolute() && reach::is_program(real));
    let versioned = version.starts_with(|c: char| c.is_ascii_digit());
    versioned.then(|| Found { path: real.unwrap_or_else(|| path.to_owned()), version })
}
