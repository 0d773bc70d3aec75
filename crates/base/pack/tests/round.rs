//! What goes in comes out, the same folder gives the same bytes, and what may not go in is refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use mayfly_pack::{Limits, Pack, Packed, unpack};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
    time::{Duration, SystemTime},
};
use types::{Code, Fault};

fn write(root: &Path, path: &str, data: &str) {
    let full = root.join(path);
    fs::create_dir_all(full.parent().unwrap()).unwrap();
    fs::write(full, data).unwrap();
}

fn mode(path: &Path, bits: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
}

fn pack(folder: &Path, pack: &Pack<'_>) -> (Vec<u8>, Packed) {
    let mut stream = Vec::new();
    let packed = pack.write(folder, &mut stream).unwrap();
    (stream, packed)
}

/// Path → what stands there, with mode and contents.
fn listing(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, at: &Path, out: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let meta = fs::symlink_metadata(&path).unwrap();
            let bits = meta.mode() & 0o7777;
            if meta.is_dir() {
                out.insert(name, format!("folder {bits:o}"));
                walk(root, &path, out);
            } else if meta.is_symlink() {
                out.insert(name, format!("link {}", fs::read_link(&path).unwrap().display()));
            } else {
                out.insert(name, format!("file {bits:o} {}", fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut out);
    out
}

#[test]
fn a_tree_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let long = format!("{}/{}", "long-folder-name/".repeat(8), "x".repeat(200));
    write(&source, "index.js", "1");
    write(&source, "bin/tool", "#!/bin/sh");
    write(&source, "ünïcode/ß", "utf-8");
    write(&source, "odd\nname = 5 path=../x\n", "line feeds");
    write(&source, &format!("{}\n", "line feed and long".repeat(9)), "both");
    write(&source, &long, "long");
    write(&source, "exact", &"b".repeat(1024));
    write(&source, "big", &"big ".repeat(100_000));
    write(&source, "node_modules/.bin/placeholder", "");
    fs::create_dir(source.join("empty")).unwrap();
    symlink("../../bin/tool", source.join("node_modules/.bin/tool")).unwrap();
    symlink("d".repeat(150), source.join("long-link")).unwrap();
    symlink(".", source.join("self")).unwrap();
    for (name, bits) in [("index.js", 0o600), ("bin/tool", 0o4711), ("bin", 0o700)] {
        mode(&source.join(name), bits);
    }
    let seen = std::cell::Cell::new(0);
    let progress = |bytes| seen.set(bytes);
    let (stream, packed) = pack(&source, &Pack::built().progress(&progress));
    assert_eq!((packed.files, packed.packed_bytes), (9, stream.len() as u64));
    assert_eq!((seen.get(), Pack::built().measure(&source).unwrap()), (packed.unpacked_bytes, packed.unpacked_bytes));

    let dest = dir.path().join("dest");
    let unpacked = unpack(&*stream, &dest, Limits::default()).unwrap();
    assert_eq!((unpacked.files, unpacked.bytes), (packed.files, packed.unpacked_bytes));
    let mut expected = listing(&source);
    for (name, what) in [("index.js", "file 644 1"), ("bin/tool", "file 755 #!/bin/sh"), ("bin", "folder 755")] {
        expected.insert(name.to_owned(), what.to_owned());
    }
    let dest_listing = listing(&dest);
    assert_eq!(dest_listing, expected);
    assert_eq!(fs::metadata(&dest).unwrap().mode() & 0o7777, 0o755);
    // Packed again, what came out has the digest of what went in.
    assert_eq!(pack(&dest, &Pack::built()).1.digest, packed.digest);
}

/// Standard tools read what we write, and we read what they write.
#[test]
fn tar_and_zstd_agree() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    write(&source, "a/b", "hello");
    write(&source, &format!("{}/f", "deep".repeat(50)), "deep");
    fs::hard_link(source.join("a/b"), source.join("hard")).unwrap();
    symlink("a/b", source.join("soft")).unwrap();
    let expected = listing(&source);

    let mut stream = Vec::new();
    Pack::built().write(&source, &mut stream).unwrap();
    let mut ours = tar::Archive::new(zstd::Decoder::new(&*stream).unwrap());
    let out = dir.path().join("out");
    ours.unpack(&out).unwrap();
    assert_eq!(listing(&out), expected);

    for format in ["gnu", "pax"] {
        let status = std::process::Command::new("tar")
            .args([&format!("--format={format}"), "-cf", &format!("{format}.tar"), "-C", "source", "."])
            .current_dir(dir.path())
            .status()
            .expect("install tar");
        assert!(status.success(), "{format}");
        let theirs = zstd::encode_all(&*fs::read(dir.path().join(format!("{format}.tar"))).unwrap(), 1).unwrap();
        let dest = dir.path().join(format);
        unpack(&*theirs, &dest, Limits::default()).unwrap_or_else(|fault| panic!("{format}: {fault}"));
        assert_eq!(listing(&dest), expected, "{format}");
    }
}

#[test]
fn the_same_folder_gives_the_same_digest() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["b", "a/x", "a.txt", "a/y/z", "c"];
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    for name in names {
        write(&one, name, name);
    }
    for name in names.iter().rev() {
        write(&two, name, name);
        let file = fs::File::options().write(true).open(two.join(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(77)).unwrap();
        mode(&two.join(name), 0o640);
    }
    mode(&two.join("a"), 0o700);
    let digest = |folder: &Path| pack(folder, &Pack::source()).1.digest;
    let first = digest(&one);
    assert_eq!(first, digest(&two));
    assert_eq!(pack(&one, &Pack::source()).0, pack(&one, &Pack::built()).0);

    mode(&two.join("b"), 0o750);
    assert_ne!(first, digest(&two), "the executable bit counts");
    mode(&two.join("b"), 0o640);
    assert_eq!(first, digest(&two));
    fs::rename(two.join("c"), two.join("d")).unwrap();
    assert_ne!(first, digest(&two), "names count");
}

#[test]
fn ignore_rules_are_the_folders_own() {
    let dir = tempfile::tempdir().unwrap();
    // Rules above the folder say nothing about it.
    write(dir.path(), ".gitignore", "*.js\n");
    let root = dir.path().join("f");
    write(&root, ".gitignore", "*.log\n/dist\nsecret*\n");
    write(&root, ".mayflyignore", "docs/\n!dist\n*.md\n");
    write(&root, ".ignore", "*.js\n");
    write(&root, ".git/config", "");
    write(&root, ".git/info/exclude", "*.js\n");
    write(&root, "sub/.gitignore", "local\n");
    for kept in ["index.js", ".env", ".hidden/x", "dist/a", "sub/keep", "sub/secre", "sub/dist/b"] {
        write(&root, kept, "");
    }
    for gone in ["a.log", "sub/b.log", "docs/a", "README.md", "sub/local", "secrets.txt", "sub/.git/x"] {
        write(&root, gone, "");
    }
    let dest = dir.path().join("dest");
    unpack(&*pack(&root, &Pack::source()).0, &dest, Limits::default()).unwrap();
    let names: Vec<String> = listing(&dest).into_keys().filter(|name| dest.join(name).is_file()).collect();
    let expected = [
        ".env",
        ".gitignore",
        ".hidden/x",
        ".ignore",
        ".mayflyignore",
        "dist/a",
        "index.js",
        "sub/.gitignore",
        "sub/dist/b",
        "sub/keep",
        "sub/secre",
    ];
    assert_eq!(names, expected);

    // A built folder is taken whole.
    let all = dir.path().join("all");
    unpack(&*pack(&root, &Pack::built()).0, &all, Limits::default()).unwrap();
    assert_eq!(listing(&all), listing(&root));
}

#[test]
fn only_what_is_kept_goes_in() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("f");
    for name in ["bootstrap", "src/main.rs", "src/deep/x.rs", "static/a.html"] {
        write(&root, name, "");
    }
    fs::create_dir(root.join("empty")).unwrap();
    let keep = |path: &Path| path.extension().is_none_or(|ext| ext != "rs");
    let dest = dir.path().join("dest");
    unpack(&*pack(&root, &Pack::built().keep(&keep)).0, &dest, Limits::default()).unwrap();
    let names: Vec<String> = listing(&dest).into_keys().collect();
    assert_eq!(names, ["bootstrap", "static", "static/a.html"]);
}

#[test]
fn what_cannot_be_packed_is_named() {
    type Make = fn(&Path);
    let cases: [(&str, Make, &str); 6] = [
        ("absolute link", |root| symlink("/etc/passwd", root.join("leak")).unwrap(), "`leak`"),
        ("link out", |root| symlink("../x", root.join("leak")).unwrap(), "`leak`"),
        ("link out below", |root| symlink("../../x", root.join("d/leak")).unwrap(), "`d/leak`"),
        ("socket", |root| drop(UnixListener::bind(root.join("sock")).unwrap()), "`sock`"),
        ("pipe", |root| make_pipe(&root.join("pipe")), "`pipe`"),
        ("name", |root| fs::write(root.join(not_utf8()), "").unwrap(), "UTF-8"),
    ];
    for (what, make, part) in cases {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "d/file", "");
        make(dir.path());
        let fault: Fault = Pack::source().write(dir.path(), std::io::sink()).unwrap_err();
        assert_eq!(fault.code, Code::ArchiveUnsafe, "{what}: {fault}");
        assert!(fault.detail.contains(part), "{what}: {fault}");
    }
}

fn not_utf8() -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(vec![b'a', 0xff])
}

fn make_pipe(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn a_folder_over_the_limits_is_refused_with_its_biggest_files() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..20 {
        write(dir.path(), &format!("f{n}"), &"x".repeat(1024 * n));
    }
    let over = |limits| Pack::source().limits(limits).write(dir.path(), std::io::sink()).unwrap_err();
    let fault = over(Limits { bytes: 100 << 10, entries: 100 });
    assert_eq!(fault.code, Code::ArchiveTooLarge);
    assert!(fault.detail.contains("f19 (19 KiB), f18") && fault.detail.contains("100KiB"), "{fault}");
    let fault = over(Limits { bytes: 100 << 20, entries: 19 });
    assert!(fault.code == Code::ArchiveTooLarge && fault.detail.contains("20 entries"), "{fault}");
    // What just fits can be unpacked with the same limits.
    let limits = Limits { bytes: 190 << 10, entries: 20 };
    let mut stream = Vec::new();
    Pack::source().limits(limits).write(dir.path(), &mut stream).unwrap();
    unpack(&*stream, &dir.path().join("dest"), limits).unwrap();
}

#[test]
fn a_full_disk_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "f", &"x".repeat(1 << 20));
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let fault = Pack::source().write(dir.path(), full).unwrap_err();
    assert_eq!(fault.code, Code::StorageFull, "{fault}");
}

/// A file system of 1 MiB: root mounts one, as the platform's own tests run.
#[test]
fn unpacking_onto_a_full_disk_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("f");
    let mut seed = 7_u32;
    let noise: String = (0..3 << 20)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b' ' + (seed >> 24) as u8 % 90)
        })
        .collect();
    write(&root, "small", "x");
    write(&root, "zbig", &noise);
    let stream = dir.path().join("stream");
    Pack::source().write(&root, fs::File::create(&stream).unwrap()).unwrap();

    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    // A mount namespace of its own: whatever happens, nothing stays mounted.
    let me = std::env::current_exe().unwrap();
    let status = std::process::Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-ec"])
        .arg(r#"mount -t tmpfs -o size=1m none "$DISK"; exec "$ME" --exact --ignored on_the_small_disk"#)
        .envs([("DISK", disk.as_os_str()), ("ME", me.as_os_str()), ("STREAM", stream.as_os_str())])
        .status()
        .expect("install unshare (util-linux)");
    assert!(status.success(), "{status}");
}

#[test]
#[ignore = "run by unpacking_onto_a_full_disk_leaves_nothing with a small disk mounted"]
fn on_the_small_disk() {
    let disk = std::path::PathBuf::from(std::env::var_os("DISK").unwrap());
    let stream = fs::File::open(std::env::var_os("STREAM").unwrap()).unwrap();
    let fault = unpack(stream, &disk.join("dest"), Limits::default()).unwrap_err();
    assert_eq!(fault.code, Code::StorageFull, "{fault}");
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 0);
}
