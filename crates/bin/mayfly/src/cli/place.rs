//! Where things are on this machine: the data directory and the token in it.

use std::path::{Path, PathBuf};

/// The token's file in a data directory.
pub const TOKEN_FILE: &str = "token";

/// The data directory: the one asked for, else `/var/lib/mayfly` for root, else the user's own.
///
/// Server and client both ask here, so that they meet without any option.
pub fn data_dir(asked: Option<&Path>) -> PathBuf {
    match asked {
        Some(dir) => dir.to_owned(),
        None => default_dir(is_root(), var("XDG_DATA_HOME"), var("HOME")),
    }
}

fn default_dir(root: bool, xdg: Option<PathBuf>, home: Option<PathBuf>) -> PathBuf {
    if root {
        return PathBuf::from("/var/lib/mayfly");
    }
    // The specification of XDG_DATA_HOME says that a relative one is to be ignored.
    let share = xdg.filter(|dir| dir.is_absolute()).or_else(|| Some(home?.join(".local/share")));
    // A user without a home keeps it where they stand.
    share.unwrap_or_else(|| PathBuf::from(".")).join("mayfly")
}

fn var(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_directory_follows_the_user() {
        let path = |text: &str| Some(PathBuf::from(text));
        for (root, xdg, home, want) in [
            (true, path("/x"), path("/root"), "/var/lib/mayfly"),
            (false, path("/x"), path("/home/ann"), "/x/mayfly"),
            (false, path("relative"), path("/home/ann"), "/home/ann/.local/share/mayfly"),
            (false, None, path("/home/ann"), "/home/ann/.local/share/mayfly"),
            (false, None, None, "./mayfly"),
        ] {
            assert_eq!(default_dir(root, xdg, home), PathBuf::from(want));
        }
        assert_eq!(data_dir(Some(Path::new("/here"))), PathBuf::from("/here"));
    }
}
