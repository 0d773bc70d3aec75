//! Explains why a program cannot be executed: which file is missing, or which folder closed to the instance's user.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Who wants to pass; user and group have the same number.
pub(crate) type User = Option<u32>;

/// The program's path: as given where it is one, else the first of this name in the `PATH` of `env`.
///
/// # Errors
/// Says where it was looked for.
pub(crate) fn find(program: &Path, env: &[(String, String)]) -> Result<PathBuf, String> {
    if program.components().count() > 1 || program.is_absolute() {
        return Ok(program.to_owned());
    }
    let Some((_, path)) = env.iter().find(|(name, _)| name == "PATH") else {
        return Err("it is a bare name, and the environment has no PATH to look it up in".into());
    };
    let mut places = path.split(':').filter(|place| !place.is_empty()).map(|place| Path::new(place).join(program));
    places.find(|file| file.is_file()).ok_or_else(|| format!("no file of this name is in PATH ({path})"))
}

/// A sentence on what hinders `user` from executing `program` in `cwd`. `step` and `error` are what the kernel said.
pub(crate) fn explain(program: &Path, cwd: &Path, user: User, step: &str, error: &io::Error) -> String {
    let program = &cwd.join(program);
    let cause = match step {
        "chdir" => closed(cwd, user).or_else(|| missing(cwd)),
        "exec" => closed(program, user).or_else(|| missing(program)).or_else(|| unfit(program, user)),
        _ => None,
    };
    match cause {
        Some(cause) => cause,
        None if step == "exec" && error.raw_os_error() == Some(libc::ENOEXEC) => {
            "it is neither a program for this machine nor a script whose first line begins with `#!`".into()
        }
        None => format!("{step}: {error}"),
    }
}

/// The first folder on the way to `path` that `user` cannot pass through; links are followed.
pub(crate) fn closed(path: &Path, user: User) -> Option<String> {
    let uid = user?;
    // What the kernel walks, too: the links' targets. The part that exists is enough.
    let real = path.ancestors().find_map(|part| part.canonicalize().ok())?;
    let mut folders: Vec<&Path> = real.ancestors().collect();
    folders.reverse();
    folders.into_iter().find_map(|folder| {
        let meta = fs::metadata(folder).ok().filter(|meta| meta.is_dir() && !may(meta, uid, 0o1))?;
        Some(format!(
            "user {uid} cannot pass through the folder {} (mode {:04o}, owner {}): allow it with `chmod o+x`, or \
             choose another place",
            folder.display(),
            meta.mode() & 0o7777,
            meta.uid()
        ))
    })
}

/// Permission bits for a user without supplementary groups (path_resolution(7)).
fn may(meta: &fs::Metadata, uid: u32, bit: u32) -> bool {
    let shift = if meta.uid() == uid {
        6
    } else if meta.gid() == uid {
        3
    } else {
        0
    };
    uid == 0 || meta.mode() >> shift & bit != 0
}

fn missing(path: &Path) -> Option<String> {
    let gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    if !fs::metadata(path).is_err_and(gone) {
        return None;
    }
    let parent = path.ancestors().skip(1).find(|part| part.exists())?;
    Some(format!("{} does not exist (what exists is {})", path.display(), parent.display()))
}

/// What is wrong with a program that exists.
fn unfit(program: &Path, user: User) -> Option<String> {
    let meta = fs::metadata(program).ok()?;
    if !meta.is_file() {
        return Some("it is not a file".into());
    }
    let any = meta.mode() & 0o111 != 0;
    if !any || user.is_some_and(|uid| !may(&meta, uid, 0o1)) {
        let who = user.map_or(String::new(), |uid| format!(" for user {uid}"));
        return Some(format!("it is not executable{who} (mode {:04o}): `chmod +x`", meta.mode() & 0o7777));
    }
    interpreter(program).and_then(|interpreter| {
        let needed = format!("it needs {}", interpreter.display());
        closed(&interpreter, user).or_else(|| missing(&interpreter)).map(|why| format!("{needed}: {why}"))
    })
}

/// What a script's first line names (execve(2): at most 255 bytes).
fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    fs::File::open(program).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let word = String::from_utf8_lossy(line).split_ascii_whitespace().next()?.to_owned();
    Some(word.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn errno(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    #[test]
    fn a_bare_name_is_looked_up_in_the_plans_path_alone() {
        let env = |path: &str| vec![("PATH".to_owned(), path.to_owned())];
        assert_eq!(find(Path::new("sh"), &env("/nowhere:/bin")), Ok("/bin/sh".into()));
        assert_eq!(find(Path::new("./sh"), &[]), Ok("./sh".into()));
        assert!(find(Path::new("sh"), &[]).unwrap_err().contains("no PATH"));
        assert!(find(Path::new("sh"), &env("/nowhere")).unwrap_err().contains("/nowhere"));
    }

    #[test]
    fn the_file_or_folder_to_blame_is_named() {
        let root = tempfile::tempdir().unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        set(root.path(), 0o755);
        let program = root.path().join("inner/program");
        fs::create_dir(root.path().join("inner")).unwrap();
        let explain = |program: &Path, number| explain(program, root.path(), Some(4321), "exec", &errno(number));

        assert!(explain(&program, libc::ENOENT).contains("does not exist"), "{}", explain(&program, libc::ENOENT));
        fs::write(&program, "#!/no/such/interpreter -x\n").unwrap();
        set(&program, 0o644);
        assert!(explain(&program, libc::EACCES).contains("not executable for user 4321 (mode 0644)"));
        set(&program, 0o755);
        assert!(explain(&program, libc::ENOENT).contains("/no/such/interpreter does not exist"));
        set(&root.path().join("inner"), 0o700);
        let text = explain(&program, libc::EACCES);
        assert!(text.contains("inner (mode 0700") && text.contains("user 4321"), "{text}");
    }
}
