//! API keys: made, listed and revoked. The key itself leaves this file once, to whoever asked for it.

use super::{Registry, encode, key, read::decode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::io::Read as _;
use store::Txn;
use types::{
    ApiKey, Code, Fault, FunctionName, Timestamp,
    key::{KeyCreated, KeyRequest, PREFIX},
};

/// Bounds what every server holds and reads again after a change.
const KEYS_MAX: usize = 10_000;
/// Nobody guesses 192 bits.
const SECRET_BYTES: usize = 24;
const ID_BYTES: usize = 5;

/// A key as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    #[serde(flatten)]
    pub key: ApiKey,
    sha256: String,
}

impl Kept {
    /// # Errors
    /// `internal` where the record is damaged.
    pub fn hash(&self) -> Result<[u8; 32], Fault> {
        let mut hash = [0; 32];
        let read = hex::decode_to_slice(&self.sha256, &mut hash);
        read.map_err(|error| {
            Fault::internal(format!("the hash of the API key {} cannot be read: {error}", self.key.id))
        })?;
        Ok(hash)
    }
}

impl Registry {
    /// All keys, newest first.
    pub(crate) fn keys(&self) -> Result<Vec<ApiKey>, Fault> {
        let mut keys: Vec<_> = self.list::<Kept>(key::KEYS)?.into_iter().map(|kept| kept.key).collect();
        keys.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        Ok(keys)
    }

    /// Makes a key. It opens its functions when this returns.
    ///
    /// # Errors
    /// `bad_request`, `function_not_found`, `storage_full`.
    pub(crate) async fn create_key(&self, request: KeyRequest, now: Timestamp) -> Result<KeyCreated, Fault> {
        request.check(now).map_err(|why| Fault::new(Code::BadRequest, why))?;
        let id = hex::encode(random::<ID_BYTES>()?);
        let secret = format!("{PREFIX}{id}_{}", hex::encode(random::<SECRET_BYTES>()?));
        let KeyRequest { name, functions, all, expires } = request;
        let functions = (!all).then_some(functions);
        let key = ApiKey { id, name, functions, created: now, expires };
        let kept = Kept { key: key.clone(), sha256: hex::encode(Sha256::digest(&secret)) };
        let plan = || {
            if self.records.list(key::KEYS).len() >= KEYS_MAX {
                return Err(Fault::new(Code::BadRequest, format!("there are {KEYS_MAX} API keys: revoke some first")));
            }
            let mut txn = Txn::new();
            for name in key.functions.iter().flatten() {
                txn = txn.version(key::function(name), self.function(name)?.version);
            }
            // An id that is taken, one chance in a trillion, is a conflict forever: the caller asks again.
            Ok((txn.unchanged(key::api_key(&key.id), None).put(key::api_key(&key.id), encode(&kept)?), ()))
        };
        self.change(plan).await?;
        Ok(KeyCreated { key, secret })
    }

    /// Revokes a key: it opens nothing when this returns.
    ///
    /// # Errors
    /// `key_not_found`, `storage_full`.
    pub(crate) async fn revoke_key(&self, id: &str) -> Result<(), Fault> {
        let path = key::api_key(id);
        let missing = || Fault::new(Code::KeyNotFound, format!("there is no API key `{id}`"));
        let plan = || {
            let entry = self.records.get(&path).ok_or_else(missing)?;
            Ok((Txn::new().version(&path, entry.version).delete(&path), ()))
        };
        self.change(plan).await.map(drop)
    }

    /// Takes a function that is deleted off the keys that name it, so that none opens a later function of its name. A key
    /// that named no other is gone.
    pub(super) fn close_keys(&self, name: &FunctionName, mut txn: Txn) -> Result<Txn, Fault> {
        for entry in self.records.list(key::KEYS) {
            let mut kept = decode::<Kept>(&entry)?.value;
            let Some(functions) = kept.key.functions.as_mut().filter(|functions| functions.contains(name)) else {
                continue;
            };
            functions.retain(|other| other != name);
            let empty = functions.is_empty();
            txn = txn.version(&*entry.key, entry.version);
            txn = if empty { txn.delete(&*entry.key) } else { txn.put(&*entry.key, encode(&kept)?) };
        }
        Ok(txn)
    }
}

fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(|error| Fault::internal(format!("no random numbers: {error}")))?;
    Ok(bytes)
}
