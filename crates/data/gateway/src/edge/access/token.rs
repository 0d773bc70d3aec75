//! Tokens that all callers share: the gateway knows their hashes only.

use super::Wrong;
use sha2::{Digest, Sha256};
use types::edge::Access;

/// The hashes that are good for one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens(Vec<[u8; 32]>);

impl Tokens {
    /// A hash that cannot be read is left out: it lets nobody in.
    pub(super) fn new(access: &Access) -> Self {
        let read = |hash: &String| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(hash, &mut bytes).ok().map(|()| bytes)
        };
        Self(access.token_sha256.0.iter().filter_map(read).collect())
    }

    /// The token's hash, where it is good.
    ///
    /// Comparing hashes in any time tells nothing: who could choose them could break SHA-256.
    pub(super) fn check(&self, sent: &str) -> Result<[u8; 32], Wrong> {
        let hash: [u8; 32] = Sha256::digest(sent).into();
        match self.0.contains(&hash) {
            true => Ok(hash),
            false => Err(Wrong::Invalid("the token is not one of this function".into())),
        }
    }
}
