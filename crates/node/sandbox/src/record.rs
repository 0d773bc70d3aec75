//! What is kept on disk of each running instance, so that a later platform can end what a killed one left.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use types::InstanceId;

/// One running instance. Written before its user code starts, removed when nothing of it is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: InstanceId,
    /// The guest's process: number, and start in clock ticks since boot.
    pub(crate) guest: i32,
    pub(crate) start: u64,
    /// The kernel's id of this boot: after another one, nothing of it can be left.
    pub(crate) boot: String,
    /// The instance's own user.
    pub(crate) uid: Option<u32>,
    /// The pipes of its standard output and error, by inode number.
    pub(crate) pipes: [u64; 2],
    pub(crate) tmp: PathBuf,
    /// Where the guest listens.
    pub(crate) socket: Option<PathBuf>,
}

impl Record {
    fn path(folder: &Path, id: InstanceId) -> PathBuf {
        folder.join(format!("{id}.json"))
    }

    /// Writes it whole or not at all. It need not outlive the kernel, so it is not synced.
    pub(crate) fn save(&self, folder: &Path) -> io::Result<()> {
        let part = folder.join(format!("{}.part", self.id));
        fs::write(&part, serde_json::to_vec(self)?)?;
        fs::rename(part, Self::path(folder, self.id))
    }

    pub(crate) fn remove(folder: &Path, id: InstanceId) {
        if let Err(error) = fs::remove_file(Self::path(folder, id))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%id, %error, "cannot remove the record of an instance");
        }
    }

    /// All records; what is none of ours or damaged is removed and told.
    pub(crate) fn all(folder: &Path) -> Result<Vec<Self>, Error> {
        let what = format!("cannot read {}", folder.display());
        let mut records = Vec::new();
        for entry in fs::read_dir(folder).map_err(Error::io(what))?.flatten() {
            let path = entry.path();
            let read = fs::read(&path).and_then(|text| Ok(serde_json::from_slice::<Self>(&text)?));
            match read.map(|record| (Self::path(folder, record.id) == path, record)) {
                Ok((true, record)) => records.push(record),
                Ok((false, _)) | Err(_) => {
                    // A part of a record: its platform died before it let user code start.
                    tracing::info!(path = %path.display(), "removing what is no record");
                    let _kept = fs::remove_file(path);
                }
            }
        }
        Ok(records)
    }
}

/// The kernel's id of this boot.
pub(crate) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_parts_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record {
            id: InstanceId::random(),
            guest: 42,
            start: 7,
            boot: boot(),
            uid: Some(20_001),
            pipes: [1, 2],
            tmp: "/tmp/x".into(),
            socket: None,
        };
        record.save(folder.path()).unwrap();
        fs::write(folder.path().join("x.part"), "{\"id\"").unwrap();
        fs::write(folder.path().join("copy.json"), serde_json::to_vec(&record).unwrap()).unwrap();
        assert_eq!(Record::all(folder.path()).unwrap().len(), 1);
        assert_eq!(Record::all(folder.path()).unwrap().first(), Some(&record));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        Record::remove(folder.path(), record.id);
        Record::remove(folder.path(), record.id);
        assert_eq!(Record::all(folder.path()).unwrap(), []);
    }
}
