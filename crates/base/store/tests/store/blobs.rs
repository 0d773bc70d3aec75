//! Blobs: bounded, idempotent, and never served once they are corrupt.

use mayfly_store::{Blobs, blob::Error};
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};
use types::Digest;

fn open() -> (tempfile::TempDir, Blobs) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    (dir, blobs)
}

fn path(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join(&digest.hex()[..2]).join(digest.hex())
}

fn temps(dir: &Path) -> usize {
    fs::read_dir(dir)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with(".put-"))
        .count()
}

#[test]
fn a_blob_is_found_by_its_digest() {
    let (dir, blobs) = open();
    let content = vec![42; 200_000];
    let (digest, size) = blobs.put(&content[..], 200_000).unwrap();
    // Source: `head -c 200000 /dev/zero | tr '\0' '*' | sha256sum`.
    assert_eq!(digest.hex(), "cf178017ae0f4eaa96daf271d78ea8352052b4bcb8fa4346f6cdf300dec460eb");
    assert_eq!(size, 200_000);
    assert!(path(dir.path(), &digest).is_file());
    let mut read = Vec::new();
    blobs.get(&digest).unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, content);
    assert_eq!(blobs.read(&digest, 200_000).unwrap(), content);
    assert!(matches!(blobs.read(&digest, 199_999), Err(Error::TooLarge { max: 199_999 })));

    assert!(blobs.exists(&digest));
    assert_eq!((blobs.delete(&digest).unwrap(), blobs.delete(&digest).unwrap()), (true, false));
    assert!(!blobs.exists(&digest));
    assert!(matches!(blobs.get(&digest), Err(Error::Missing(missing)) if missing == digest));
    assert!(matches!(blobs.read(&digest, 1), Err(Error::Missing(_))));
}

#[test]
fn more_than_allowed_is_refused_and_leaves_nothing() {
    let (dir, blobs) = open();
    blobs.put(&[1; 1000][..], 1000).unwrap();
    assert!(matches!(blobs.put(&[2; 1001][..], 1000), Err(Error::TooLarge { max: 1000 })));
    assert!(matches!(blobs.put(io::repeat(0), 1 << 20), Err(Error::TooLarge { .. })), "without end");
    assert_eq!((blobs.list().unwrap().len(), temps(dir.path())), (1, 0));
}

#[test]
fn a_source_that_breaks_leaves_nothing() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let (dir, blobs) = open();
    assert!(matches!(blobs.put((&[1; 1000][..]).chain(Broken), 10_000), Err(Error::Source(_))));
    assert!(matches!(blobs.put_file(&dir.path().join("nowhere"), 1), Err(Error::Source(_))));
    assert_eq!((blobs.list().unwrap(), temps(dir.path())), (vec![], 0));
}

#[test]
fn a_corrupt_blob_is_moved_aside_and_a_new_put_heals_it() {
    type Harm = fn(&Path);
    let harms: [Harm; 3] = [
        |path| fs::write(path, vec![8; 1000]).unwrap(),
        |path| fs::write(path, vec![7; 999]).unwrap(),
        |path| fs::write(path, b"").unwrap(),
    ];
    for harm in harms {
        for whole in [true, false] {
            let (dir, blobs) = open();
            let (digest, _) = blobs.put(&[7; 1000][..], 1000).unwrap();
            harm(&path(dir.path(), &digest));
            let error = if whole { blobs.read(&digest, 1000).map(drop) } else { blobs.get(&digest).map(drop) };
            let Err(Error::Corrupt { aside, .. }) = error else { panic!("{error:?}") };
            assert!(aside.is_file(), "kept for whoever looks into it");
            assert!(!blobs.exists(&digest) && blobs.list().unwrap().is_empty());
            assert!(matches!(blobs.get(&digest), Err(Error::Missing(_))));
            blobs.put(&[7; 1000][..], 1000).unwrap();
            assert_eq!(blobs.read(&digest, 1000).unwrap(), [7; 1000]);
        }
    }
}

#[test]
fn a_put_heals_what_nobody_has_read_yet() {
    let (dir, blobs) = open();
    let (digest, _) = blobs.put(&b"content"[..], 100).unwrap();
    fs::write(path(dir.path(), &digest), "CONTENT").unwrap();
    assert_eq!(blobs.put(&b"content"[..], 100).unwrap(), (digest.clone(), 7));
    assert_eq!(blobs.read(&digest, 100).unwrap(), b"content");
}

#[test]
fn many_put_the_same_at_once() {
    let (dir, blobs) = open();
    let content = vec![9; 100_000];
    std::thread::scope(|scope| {
        let puts: Vec<_> = (0..16).map(|_| scope.spawn(|| blobs.put(&content[..], 100_000).unwrap())).collect();
        let mut digests: Vec<_> = puts.into_iter().map(|put| put.join().unwrap()).collect();
        digests.dedup();
        assert_eq!(digests.len(), 1);
        assert_eq!(blobs.read(&digests[0].0, 100_000).unwrap(), content);
    });
    assert_eq!((blobs.list().unwrap().len(), temps(dir.path())), (1, 0));
}

#[test]
fn open_sweeps_what_a_dead_process_left_and_list_tells_what_is_there() {
    let (dir, blobs) = open();
    let file = dir.path().join(".put-abandoned");
    let mut wanted = Vec::new();
    for n in 0..20_u8 {
        fs::write(&file, vec![n; usize::from(n)]).unwrap();
        let (digest, size) = blobs.put_file(&file, 100).unwrap();
        wanted.push((digest, size));
    }
    wanted.sort();
    fs::write(dir.path().join("ab-stranger"), "x").unwrap();
    drop(blobs);
    let blobs = Blobs::open(dir.path()).unwrap();
    assert!(!file.exists());
    let found: Vec<_> = blobs.list().unwrap().into_iter().map(|blob| (blob.digest, blob.size)).collect();
    assert_eq!(found, wanted);
}
