//! Archives made to do harm, and streams that are none: each is refused with its code, and nothing is left behind.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use mayfly_pack::{Limits, unpack};
use std::{
    fs,
    io::{Read, Write},
    path::Path,
};
use tar::{EntryType, Header};
use types::{Code, Fault};

/// An archive by hand, with names that the tar crate's own builder would refuse.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn head(mut self, name: &[u8], kind: EntryType, size: u64, change: impl FnOnce(&mut Header)) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self
    }
    fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }
    fn file(self, name: &str, data: &str) -> Self {
        self.head(name.as_bytes(), EntryType::Regular, data.len() as u64, |_| {}).data(data.as_bytes())
    }
    fn folder(self, name: &str) -> Self {
        self.head(name.as_bytes(), EntryType::Directory, 0, |_| {})
    }
    fn link(self, name: &str, target: &str, kind: EntryType) -> Self {
        self.head(name.as_bytes(), kind, 0, |header| header.set_link_name_literal(target).unwrap())
    }
    fn symlink(self, name: &str, target: &str) -> Self {
        self.link(name, target, EntryType::Symlink)
    }
    fn pax(self, records: &[u8]) -> Self {
        self.head(b"pax", EntryType::XHeader, records.len() as u64, |_| {}).data(records)
    }
    fn kind(self, kind: EntryType) -> Self {
        self.head(b"x", kind, 0, |_| {})
    }
    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
    fn stream(self) -> Vec<u8> {
        zstd::encode_all(&*self.end(), 1).unwrap()
    }
}

fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..).find(|n| *n == rest + n.to_string().len()).unwrap();
    format!("{length} {key}={value}\n").into_bytes()
}

/// Unpacks into a folder that is private to the test and holds nothing else; returns the refusal.
fn refusal(stream: impl Read, limits: Limits) -> Fault {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("outside"), "untouched").unwrap();
    let fault = unpack(stream, &dir.path().join("dest"), limits).unwrap_err();
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["outside"], "{fault}");
    assert_eq!(fs::read_to_string(dir.path().join("outside")).unwrap(), "untouched", "{fault}");
    fault
}

#[test]
fn unsafe_archives_are_refused() {
    let new = Archive::default;
    let long = "d/".repeat(2100) + "f";
    let cases: Vec<(&str, Archive, &str)> = vec![
        ("climbs", new().file("../outside", "x"), "climbs"),
        ("climbs in the middle", new().file("a/../../outside", "x"), "climbs"),
        ("absolute", new().file("/outside", "x"), "absolute"),
        ("link out", new().symlink("l", "../outside"), "leads out"),
        ("absolute link", new().symlink("l", "/etc/passwd"), "is absolute"),
        ("link to the parent", new().symlink("a", ".."), "leads out"),
        ("link out below", new().folder("d").symlink("d/l", "../../outside"), "leads out"),
        ("chain of links", new().symlink("a", ".").symlink("b", "a/../outside"), "`..` behind a name"),
        (
            "chain that goes up",
            new().folder("p/q/r").folder("t").symlink("p/q/r/l", "../../../t").symlink("p/q/r/x", "l/../.."),
            "`..` behind",
        ),
        ("write through a link", new().folder("d").symlink("a", "d").file("a/file", "x"), "through the link"),
        ("folder through a link", new().folder("d").symlink("a", "d").folder("a/sub"), "through the link"),
        ("link through a link", new().folder("d").symlink("a", "d").symlink("a/l", "x"), "through the link"),
        ("file over a link", new().file("f", "1").symlink("l", "f").file("l", "2"), "twice"),
        ("link over a folder", new().folder("d").symlink("d", "x"), "twice"),
        ("below a file", new().file("f", "1").file("f/g", "2"), "through the file"),
        ("twice", new().file("f", "1").file("f", "2"), "twice"),
        ("twice by another spelling", new().file("f", "1").file("./f", "2"), "twice"),
        ("hard link out", new().link("h", "../outside", EntryType::Link), "climbs"),
        ("absolute hard link", new().link("h", "/etc/passwd", EntryType::Link), "absolute"),
        ("hard link to a link", new().file("f", "").symlink("l", "f").link("h", "l", EntryType::Link), "no file"),
        ("hard link to nothing", new().link("h", "absent", EntryType::Link), "no file"),
        ("hard link to itself", new().link("h", "h", EntryType::Link), "no file"),
        ("character device", new().kind(EntryType::Char), "device"),
        ("block device", new().kind(EntryType::Block), "device"),
        ("pipe", new().kind(EntryType::Fifo), "pipe"),
        ("sparse", new().kind(EntryType::GNUSparse), "sparse"),
        ("pax sparse", new().pax(&record("GNU.sparse.realsize", "99999999999")).file("f", "x"), "sparse"),
        ("unknown kind", new().kind(EntryType::new(b'Z')), "unknown kind"),
        ("not UTF-8", new().head(b"a\xff", EntryType::Regular, 0, |_| {}), "UTF-8"),
        ("NUL by pax", new().pax(&record("path", "a\0b")).file("f", "x"), "NUL"),
        ("climbs by pax", new().pax(&record("path", "../outside")).file("f", "x"), "climbs"),
        ("link out by pax", new().pax(&record("linkpath", "../outside")).symlink("l", "f"), "leads out"),
        (
            "climbs by GNU name",
            new().head(b"L", EntryType::GNULongName, 11, |_| {}).data(b"../outside\0").file("f", "x"),
            "climbs",
        ),
        ("too long", new().pax(&record("path", &long)).file("f", "x"), "longer than"),
        ("no name", new().head(b"", EntryType::Regular, 0, |_| {}), "no name"),
        (
            "link with contents",
            new().head(b"l", EntryType::Symlink, 5, |h| h.set_link_name("f").unwrap()).data(b"hello"),
            "no file but has contents",
        ),
        ("huge extended header", new().head(b"pax", EntryType::XHeader, 10 << 30, |_| {}), "extended header"),
    ];
    for (what, archive, part) in cases {
        let fault = refusal(&*archive.stream(), Limits::default());
        assert_eq!(fault.code, Code::ArchiveUnsafe, "{what}: {fault}");
        assert!(fault.detail.contains(part), "{what}: {fault}");
    }
}

#[test]
fn damaged_streams_are_refused() {
    let whole = Archive::default().file("f", &"some text ".repeat(10_000)).file("g", "x").end();
    let stream = zstd::encode_all(&*whole, 1).unwrap();
    let checked = {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(&whole).unwrap();
        encoder.finish().unwrap()
    };
    let mut flipped = checked.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut wrong_sum = Archive::default().file("f", "x").end();
    wrong_sum[0] ^= 1;
    let bad_record = Archive::default().pax(b"99 path=f\n").file("f", "x").end();
    let bad_size = Archive::default().pax(&record("size", "many")).file("f", "x").end();
    let compress = |tar: &[u8]| zstd::encode_all(tar, 1).unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("garbage", b"this is no archive at all, just words".to_vec()),
        ("tar without zstd", whole.clone()),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec()),
        ("zstd of garbage", compress(&[b'x'; 4096])),
        ("zstd of nothing", compress(b"")),
        ("cut in the stream", stream[..stream.len() / 2].to_vec()),
        ("cut by one byte", checked[..checked.len() - 1].to_vec()),
        ("cut in the file", compress(&whole[..2000])),
        ("cut before the end", compress(&whole[..whole.len() - 1024])),
        ("cut in a header", compress(&whole[..100])),
        ("checksum of the stream", flipped),
        ("checksum of a header", compress(&wrong_sum)),
        ("bad pax record", compress(&bad_record)),
        ("bad pax size", compress(&bad_size)),
    ];
    for (what, stream) in cases {
        let fault = refusal(&*stream, Limits::default());
        assert_eq!(fault.code, Code::ArchiveInvalid, "{what}: {fault}");
    }
}

/// `head`, then zeros without end, compressed as they are read: nothing holds them.
fn bomb(head: Vec<u8>) -> impl Read {
    zstd::stream::read::Encoder::new(head.chain_zeros(10 << 30), 1).unwrap()
}

trait ChainZeros {
    fn chain_zeros(self, n: u64) -> Box<dyn Read>;
}
impl ChainZeros for Vec<u8> {
    fn chain_zeros(self, n: u64) -> Box<dyn Read> {
        Box::new(std::io::Cursor::new(self).chain(std::io::repeat(0).take(n)))
    }
}

#[test]
fn bombs_stop_at_the_limit() {
    let new = Archive::default;
    let small = Limits { bytes: 1 << 20, entries: 1000 };
    let file = |size: u64| new().head(b"zeros", EntryType::Regular, size, |_| {}).0;
    let by_pax = new().pax(&record("size", &(10_u64 << 30).to_string())).head(b"z", EntryType::Regular, 0, |_| {}).0;
    let headers = new().head(b"pax", EntryType::XGlobalHeader, 64 << 10, |_| {}).data(&vec![b'x'; 64 << 10]).0;
    let cases: Vec<(&str, Box<dyn Read>, Limits, Code)> = vec![
        ("10 GiB of zeros", Box::new(bomb(file(10 << 30))), Limits::default(), Code::ArchiveTooLarge),
        ("10 GiB by pax", Box::new(bomb(by_pax)), Limits::default(), Code::ArchiveTooLarge),
        ("zeros behind the end", Box::new(bomb(new().end())), Limits::default(), Code::ArchiveInvalid),
        (
            "many files",
            Box::new(&*Box::leak(many_files(40, 64 << 10).into_boxed_slice())),
            small,
            Code::ArchiveTooLarge,
        ),
        ("many entries", Box::new(&*Box::leak(many_files(1001, 0).into_boxed_slice())), small, Code::ArchiveTooLarge),
        (
            "headers alone",
            Box::new(&*Box::leak(zstd::encode_all(&*headers.repeat(200), 1).unwrap().into_boxed_slice())),
            small,
            Code::ArchiveTooLarge,
        ),
    ];
    for (what, stream, limits, code) in cases {
        let started = std::time::Instant::now();
        let fault = refusal(stream, limits);
        assert_eq!(fault.code, code, "{what}: {fault}");
        assert!(started.elapsed().as_secs() < 20, "{what}: {:?}", started.elapsed());
    }
}

fn many_files(count: usize, size: usize) -> Vec<u8> {
    let data = "z".repeat(size);
    (0..count).fold(Archive::default(), |archive, n| archive.file(&format!("f{n}"), &data)).stream()
}

/// Folders that nobody wrote an entry for count as well: a few long paths make many.
#[test]
fn implied_folders_count() {
    let deep = |n: usize| record("path", &format!("{n}/{}f", "d/".repeat(600)));
    let archive = (0..3).fold(Archive::default(), |archive, n| archive.pax(&deep(n)).file("f", ""));
    let fault = refusal(&*archive.stream(), Limits { bytes: 1 << 20, entries: 1000 });
    assert_eq!(fault.code, Code::ArchiveTooLarge, "{fault}");
}

/// The declared size is refused before a byte is written, and what came before it does not stay.
#[test]
fn nothing_over_the_limit_reaches_the_disk() {
    struct Watch<'a>(&'a Path, Vec<u8>, usize);
    impl Read for Watch<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let rest = &self.1[self.2..];
            let n = rest.len().min(buffer.len()).min(4096);
            buffer[..n].copy_from_slice(&rest[..n]);
            self.2 += n;
            let written: u64 = fs::read_dir(self.0).unwrap().map(|e| size(&e.unwrap().path())).sum();
            assert!(written <= 1 << 20, "{written} bytes on the disk");
            Ok(n)
        }
    }
    fn size(path: &Path) -> u64 {
        let meta = fs::symlink_metadata(path).unwrap();
        if !meta.is_dir() {
            return meta.len();
        }
        fs::read_dir(path).unwrap().map(|e| size(&e.unwrap().path())).sum()
    }
    let dir = tempfile::tempdir().unwrap();
    // Noise, so that the stream is long and is read piece by piece.
    let mut seed = 1_u32;
    let noise: String = (0..400_000)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b' ' + (seed >> 24) as u8 % 90)
        })
        .collect();
    let archive = (0..8).fold(Archive::default(), |archive, n| archive.file(&format!("f{n}"), &noise));
    let watch = Watch(dir.path(), archive.stream(), 0);
    let fault = unpack(watch, &dir.path().join("dest"), Limits { bytes: 1 << 20, entries: 100 }).unwrap_err();
    assert_eq!(fault.code, Code::ArchiveTooLarge);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_destination_that_exists_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("dest");
    fs::create_dir(&dest).unwrap();
    fs::write(dest.join("mine"), "1").unwrap();
    let stream = Archive::default().file("f", "x").stream();
    assert_eq!(unpack(&*stream, &dest, Limits::default()).unwrap_err().code, Code::Internal);
    assert!(dest.join("mine").exists() && !dest.join("f").exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
