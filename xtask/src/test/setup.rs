//! The step `setup`: as root on Debian it installs what is missing, elsewhere it says what to install and fails.

use super::needs::{NEEDS, Need, Places};
use crate::run::{answer, succeed};
use anyhow::{Result, bail};
use std::{path::Path, process::Command};

pub(crate) fn run(_root: &Path) -> Result<()> {
    let is_root = answer(Path::new("id"), &["-u"]).is_some_and(|id| id.trim() == "0");
    let places = Places::here(is_root);
    let missing = missing(&places);
    if missing.is_empty() {
        eprintln!("all of {} programs are there", NEEDS.len());
        return Ok(());
    }
    tell(&missing);
    let packages = packages(&missing);
    if !is_root || !Path::new("/usr/bin/apt-get").exists() {
        bail!("install these and run again (Debian: apt-get install {})", packages.join(" "));
    }
    let apt = |args: &[&str]| succeed(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"));
    apt(&["update", "-q"])?;
    apt(&[&["install", "-y", "-q", "--no-install-recommends"], packages.as_slice()].concat())?;
    let still = self::missing(&places);
    if !still.is_empty() {
        tell(&still);
        bail!("this system's packages are not enough: install the above by other ways, and have them on the PATH");
    }
    Ok(())
}

type Missing = (&'static Need, String);

fn missing(places: &Places) -> Vec<Missing> {
    NEEDS.iter().filter_map(|need| need.check(places).err().map(|why| (need, why))).collect()
}

fn tell(missing: &[Missing]) {
    for (need, why) in missing {
        eprintln!("missing: {} ({}): {why}", need.title(), need.why);
    }
}

/// Each package once, in the order of the needs.
fn packages(missing: &[Missing]) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for package in missing.iter().flat_map(|(need, _)| need.packages) {
        if !packages.contains(package) {
            packages.push(*package);
        }
    }
    packages
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nothing_there_names_every_package_once() {
        let nowhere = Places { folders: Vec::new(), for_others: true };
        let missing = missing(&nowhere);
        assert_eq!(missing.len(), NEEDS.len());
        let packages = packages(&missing);
        for package in ["nodejs", "python3-pip", "maven", "libtool"] {
            assert_eq!(packages.iter().filter(|name| **name == package).count(), 1, "{package}");
        }
        assert_eq!(packages.iter().filter(|name| **name == "openjdk-17-jdk-headless").count(), 1);
    }
}
