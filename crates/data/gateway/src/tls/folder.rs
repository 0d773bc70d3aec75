//! The certificates' folder: which files are pairs, and what is in them.
//!
//! `NAME.crt` or `NAME.pem` has the chain and `NAME.key` its key; or a folder below holds `fullchain.pem` and
//! `privkey.pem` (certbot), or `tls.crt` and `tls.key` (a Kubernetes secret). Which hosts a pair is for, its certificate
//! says; the pair called `default` answers for everybody else.

use rustls::{
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// How a pair's files may be called in a folder of their own.
const PAIRS: [(&str, &str); 2] = [("fullchain.pem", "privkey.pem"), ("tls.crt", "tls.key")];
/// Most certificates of one folder.
const PAIRS_MAX: usize = 10_000;

/// What the folder looks like: a change of any file changes it.
pub(super) type Print = Vec<(PathBuf, Option<SystemTime>, u64)>;

pub(super) struct Certificate {
    /// Lower case; may begin with `*.`.
    pub(super) names: Vec<String>,
    pub(super) key: Arc<CertifiedKey>,
}

/// At least one certificate.
pub(super) struct Found {
    pub(super) first: Certificate,
    pub(super) rest: Vec<Certificate>,
    pub(super) default: Option<Arc<CertifiedKey>>,
}

struct Pair {
    name: String,
    chain: PathBuf,
    key: PathBuf,
}

/// Files that cannot be looked at count as not there; reading them says why.
pub(super) fn print(folder: &Path) -> Print {
    let files = pairs(folder).unwrap_or_default().into_iter().flat_map(|pair| [pair.chain, pair.key]);
    files
        .map(|path| {
            let meta = fs::metadata(&path).ok();
            let changed = meta.as_ref().and_then(|meta| meta.modified().ok());
            (path, changed, meta.map_or(0, |meta| meta.len()))
        })
        .collect()
}

/// # Errors
/// The file that is wrong, and what is wrong with it.
pub(super) fn read(folder: &Path) -> io::Result<Found> {
    let mut default = None;
    let mut all = Vec::new();
    for pair in pairs(folder).map_err(|error| wrong(folder, &error))? {
        let certificate = certificate(&pair)?;
        if pair.name == "default" {
            default = Some(Arc::clone(&certificate.key));
        }
        all.push(certificate);
    }
    let mut all = all.into_iter();
    let first = all.next().ok_or_else(|| wrong(folder, &"no pair of NAME.crt and NAME.key is in it"))?;
    Ok(Found { first, rest: all.collect(), default })
}

/// In the order of their names, so that every start and every reload takes the same default.
fn pairs(folder: &Path) -> io::Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let is_chain = path.extension().is_some_and(|end| end == "crt" || end == "pem");
        let pair = if path.is_dir() {
            let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or(name);
            let own = PAIRS.iter().find(|(chain, _)| path.join(chain).is_file());
            own.map(|(chain, key)| Pair { name: file_name.to_owned(), chain: path.join(chain), key: path.join(key) })
        } else if is_chain && !PAIRS.iter().any(|(_, key)| path.ends_with(key)) {
            Some(Pair { name: name.to_owned(), key: key_beside(&path, name), chain: path.clone() })
        } else {
            None
        };
        pairs.extend(pair);
        if pairs.len() > PAIRS_MAX {
            return Err(io::Error::other(format!("more than {PAIRS_MAX} certificates")));
        }
    }
    pairs.sort_by(|a, b| a.chain.cmp(&b.chain));
    Ok(pairs)
}

/// `NAME.key`, or for the folder of one pair that is mounted or linked itself: the key's usual name.
fn key_beside(chain: &Path, name: &str) -> PathBuf {
    let usual = PAIRS.iter().find(|(file, _)| chain.ends_with(file)).map(|(_, key)| chain.with_file_name(key));
    usual.unwrap_or_else(|| chain.with_file_name(format!("{name}.key")))
}

fn certificate(pair: &Pair) -> io::Result<Certificate> {
    let chain = CertificateDer::pem_file_iter(&pair.chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&pair.chain, &error))?;
    let Some(first) = chain.first() else { return Err(wrong(&pair.chain, &"no certificate is in it")) };
    let names = names(first).map_err(|error| wrong(&pair.chain, &error))?;
    let key = PrivateKeyDer::from_pem_file(&pair.key).map_err(|error| wrong(&pair.key, &error))?;
    let key = any_supported_type(&key).map_err(|error| wrong(&pair.key, &error))?;
    let key = CertifiedKey::new(chain, key);
    key.keys_match().map_err(|error| wrong(&pair.key, &error))?;
    Ok(Certificate { names, key: Arc::new(key) })
}

fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, webpki::Error> {
    let parsed = webpki::EndEntityCert::try_from(certificate)?;
    Ok(parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}
