//! The tar format: one header block after the other, read with bounds and written without anything that varies.
//!
//! Source: POSIX.1-2017, `pax`, "ustar Interchange Format" and "pax Extended Header"; GNU's long names are read.
//! The blocks are walked here and not by the tar crate's reader, which holds extended headers of any size in memory.

use crate::{
    PATH_MAX,
    tree::refused,
    walk::{Item, Kind},
};
use std::io::{self, Read, Write};
use tar::{EntryType, Header};
use types::{Code, Fault};

pub(crate) const BLOCK: usize = 512;
/// Largest extended header: two paths and room for what others write beside them.
const EXTENSION_MAX: u64 = 64 << 10;

/// An entry's head. Its `size` bytes and the padding behind them come next in the stream.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryType,
    pub(crate) link: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) mode: u32,
}

/// What the extended headers before an entry say about it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// The next entry, `None` at the archive's end.
///
/// # Errors
/// `archive_invalid` for what is no tar archive or ends too soon; `archive_unsafe` for sparse files.
pub(crate) fn read_head(reader: &mut impl Read) -> Result<Option<Head>, Fault> {
    let mut extension = Extension::default();
    loop {
        let mut block = [0; BLOCK];
        reader.read_exact(&mut block).map_err(|e| cut(&e))?;
        if block == [0; BLOCK] {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block);
        check_sum(header, &block)?;
        let size = header.entry_size().map_err(|e| invalid(format!("an entry's size cannot be read: {e}")))?;
        match header.entry_type() {
            EntryType::XHeader => read_pax(&read_extension(reader, size)?, &mut extension)?,
            // A comment for the whole archive, as `git archive` writes it; it says nothing that counts here.
            EntryType::XGlobalHeader => drop(read_extension(reader, size)?),
            EntryType::GNULongName => extension.path = Some(without_nul(read_extension(reader, size)?)),
            EntryType::GNULongLink => extension.link = Some(without_nul(read_extension(reader, size)?)),
            kind => return Ok(Some(head(header, kind, size, extension))),
        }
    }
}

fn head(header: &Header, kind: EntryType, size: u64, extension: Extension) -> Head {
    let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
    // The oldest archives mark a folder by its trailing slash alone.
    let folder = kind == EntryType::Regular && path.ends_with(b"/");
    Head {
        kind: if folder { EntryType::Directory } else { kind },
        link: extension.link.or_else(|| Some(header.link_name_bytes()?.into_owned())).unwrap_or_default(),
        size: extension.size.unwrap_or(size),
        mode: header.mode().unwrap_or(0o644),
        path,
    }
}

/// The header's sum of its own bytes, with the sum's field taken as spaces.
fn check_sum(header: &Header, block: &[u8; BLOCK]) -> Result<(), Fault> {
    let sum =
        |range: std::ops::Range<usize>| block.get(range).into_iter().flatten().map(|b| u32::from(*b)).sum::<u32>();
    let actual = sum(0..148) + 8 * 32 + sum(156..BLOCK);
    match header.cksum() {
        Ok(stated) if stated == actual => Ok(()),
        _ => Err(invalid("a header's checksum is wrong: this is no tar archive, or it is damaged".to_owned())),
    }
}

fn read_extension(reader: &mut impl Read, size: u64) -> Result<Vec<u8>, Fault> {
    if size > EXTENSION_MAX {
        return Err(refused(format!("an extended header has {size} bytes, over the limit of {EXTENSION_MAX}")));
    }
    let mut bytes = Vec::new();
    reader.take(size).read_to_end(&mut bytes).map_err(|e| cut(&e))?;
    if (bytes.len() as u64) < size {
        return Err(cut(&io::ErrorKind::UnexpectedEof.into()));
    }
    skip_padding(reader, size)?;
    Ok(bytes)
}

fn read_pax(mut records: &[u8], extension: &mut Extension) -> Result<(), Fault> {
    while !records.is_empty() {
        let (key, value) =
            next_record(&mut records).ok_or_else(|| invalid("an extended header cannot be read".to_owned()))?;
        match key {
            b"path" => extension.path = Some(value.to_vec()),
            b"linkpath" => extension.link = Some(value.to_vec()),
            b"size" => {
                extension.size = Some(decimal(value).ok_or_else(|| invalid("an entry's size is no number".to_owned()))?)
            }
            key if key.starts_with(b"GNU.sparse.") => return Err(refused("the archive has a sparse file".to_owned())),
            // Times, owners, attributes: not kept.
            _ => {}
        }
    }
    Ok(())
}

/// Splits `LENGTH KEY=VALUE\n` off; by its length and not by its end, because values may hold line feeds.
fn next_record<'r>(records: &mut &'r [u8]) -> Option<(&'r [u8], &'r [u8])> {
    let space = records.iter().position(|b| *b == b' ')?;
    let length = usize::try_from(decimal(records.get(..space)?)?).ok()?;
    let (record, rest) = records.split_at_checked(length)?;
    *records = rest;
    let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|b| *b == b'=')?;
    Some((body.get(..equals)?, body.get(equals + 1..)?))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn without_nul(mut name: Vec<u8>) -> Vec<u8> {
    while name.last() == Some(&0) {
        name.pop();
    }
    name
}

/// Bytes between the end of `size` bytes and the next block.
fn padding(size: u64) -> usize {
    let over = (size % BLOCK as u64) as usize;
    if over == 0 { 0 } else { BLOCK - over }
}

pub(crate) fn skip_padding(reader: &mut impl Read, size: u64) -> Result<(), Fault> {
    let mut block = [0; BLOCK];
    let rest = block.get_mut(..padding(size)).unwrap_or_default();
    reader.read_exact(rest).map_err(|e| cut(&e))
}

/// Something wrong with the stream: cut off, damaged, or no archive at all.
pub(crate) fn cut(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid("the archive ends in the middle".to_owned()),
        io::ErrorKind::FileTooLarge => {
            Fault::new(Code::ArchiveTooLarge, "the archive's headers alone are over the limits")
        }
        _ => invalid(format!("the archive cannot be read: {error}")),
    }
}

pub(crate) fn invalid(detail: String) -> Fault {
    Fault::new(Code::ArchiveInvalid, detail)
}

/// Writes an item's header, with a pax header before it where a name doesn't fit.
pub(crate) fn write_header(out: &mut impl Write, item: &Item) -> io::Result<()> {
    let mut header = blank();
    let mut records = Vec::new();
    let mode = match &item.kind {
        Kind::Folder => {
            header.set_entry_type(EntryType::Directory);
            0o755
        }
        Kind::File { size, executable } => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(*size);
            if *executable { 0o755 } else { 0o644 }
        }
        Kind::Link { target } => {
            header.set_entry_type(EntryType::Symlink);
            if header.set_link_name_literal(target).is_err() {
                records.extend(pax_record("linkpath", target));
            }
            0o777
        }
    };
    header.set_mode(mode);
    if header.set_path(&item.path).is_err() {
        header.set_path("long-path")?;
        records.extend(pax_record("path", &item.path));
    }
    if !records.is_empty() {
        write_pax(out, &records)?;
    }
    header.set_cksum();
    out.write_all(header.as_bytes())
}

fn blank() -> Header {
    let mut header = Header::new_ustar();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn write_pax(out: &mut impl Write, records: &[u8]) -> io::Result<()> {
    let mut header = blank();
    header.set_path("pax")?;
    header.set_entry_type(EntryType::XHeader);
    header.set_mode(0o644);
    header.set_size(records.len() as u64);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    out.write_all(records)?;
    write_padding(out, records.len() as u64)
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn pax_record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

pub(crate) fn write_padding(out: &mut impl Write, size: u64) -> io::Result<()> {
    out.write_all([0; BLOCK].get(..padding(size)).unwrap_or_default())
}

/// An archive ends with two empty blocks.
pub(crate) fn write_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

/// Largest path that [`Header::set_path`] or a pax record carries; a compile-time reminder that both sides agree.
const _: () = assert!(2 * PATH_MAX < EXTENSION_MAX as usize);
