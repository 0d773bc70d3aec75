//! The histories of the functions that ask for prediction, and the file that keeps them over a restart.

use crate::predict::{History, predict};
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};
use types::{FunctionName, Timestamp};

/// Functions remembered: some 40 MB. Those beyond go without prediction, and a warning says so.
const FUNCTIONS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Book {
    file: Option<PathBuf>,
    histories: HashMap<FunctionName, History>,
    /// Something was noted since the last save.
    dirty: bool,
    is_full: bool,
}

impl Book {
    /// Reads the file, where there is one. One that cannot be read is a warning: nothing but predictions depends on it.
    pub(crate) fn open(file: Option<PathBuf>) -> Self {
        let histories = file.as_deref().map(read).unwrap_or_default();
        Self { file, histories, dirty: false, is_full: false }
    }

    pub(crate) fn note(&mut self, function: &FunctionName, now: Timestamp, calls: f32) {
        if let Some(history) = self.histories.get_mut(function) {
            history.note(now, calls);
        } else if self.histories.len() < FUNCTIONS_MAX {
            self.histories.entry(function.clone()).or_default().note(now, calls);
        } else if !std::mem::replace(&mut self.is_full, true) {
            tracing::warn!(limit = FUNCTIONS_MAX, "no more functions are remembered for prediction");
        }
        self.dirty = true;
    }

    pub(crate) fn predict(&self, function: &FunctionName, now: Timestamp) -> f32 {
        self.histories.get(function).map_or(0.0, |history| predict(history, now))
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&FunctionName) -> bool) {
        let before = self.histories.len();
        self.histories.retain(|function, _| keep(function));
        self.dirty |= self.histories.len() < before;
        self.is_full &= self.histories.len() >= FUNCTIONS_MAX;
    }

    /// What is to be written, and where to; `None` where nothing changed. Writing is the caller's, off the runtime.
    pub(crate) fn due_save(&mut self) -> Option<(PathBuf, Vec<u8>)> {
        let file = self.file.clone()?;
        if !std::mem::replace(&mut self.dirty, false) {
            return None;
        }
        serde_json::to_vec(&self.histories).ok().map(|bytes| (file, bytes))
    }
}

/// The file is whole or the old one, whenever the process dies.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let partial = file.with_extension("partial");
    fs::write(&partial, bytes)?;
    fs::File::open(&partial)?.sync_all()?;
    fs::rename(&partial, file)
}

fn read(file: &Path) -> HashMap<FunctionName, History> {
    let histories: io::Result<HashMap<FunctionName, History>> =
        fs::read(file).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other));
    match histories {
        Ok(mut histories) => {
            histories.retain(|_, history| history.is_whole());
            histories
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "the demand of the last days cannot be read: it begins anew");
            HashMap::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fleet/history.json");
        let (name, other): (FunctionName, FunctionName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let day = 24 * 3600 * 1000;
        let mut book = Book::open(Some(file.clone()));
        assert!(book.due_save().is_none(), "nothing to save");
        for days in 100..103 {
            book.note(&name, Timestamp(days * day), 7.0);
        }
        book.note(&other, Timestamp(100 * day), 7.0);
        book.retain(|function| *function == name);
        let (path, bytes) = book.due_save().unwrap();
        write(&path, &bytes).unwrap();
        assert!(book.due_save().is_none(), "saved");
        let again = Book::open(Some(file.clone()));
        assert_eq!(again.predict(&name, Timestamp(103 * day)), 7.0);
        assert_eq!(again.histories.len(), 1);
        // A file of somebody else, or half of one, costs the predictions only.
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        assert_eq!(Book::open(Some(file)).histories.len(), 0);
    }

    #[test]
    fn it_is_bounded() {
        let mut book = Book::default();
        for n in 0..FUNCTIONS_MAX + 5 {
            book.note(&format!("f{n}").parse().unwrap(), Timestamp(0), 1.0);
        }
        assert_eq!(book.histories.len(), FUNCTIONS_MAX);
        book.retain(|_| false);
        assert_eq!(book.histories.len(), 0);
    }
}
