//! The node's Ed25519 key: who it is. Made once, never overwritten.
//!
//! On disk in libp2p's protobuf encoding. Exported as one line of text, which an operator can keep
//! elsewhere: with it and the blobs, a node can be moved to another machine.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};
use kit::private_file;
use libp2p_identity::{Keypair, ed25519};
use rand::{CryptoRng, RngExt};

const TEXT_PREFIX: &str = "fsn-identity-v1:";

/// `None` where there is none yet.
pub(crate) fn load(path: &Path) -> Result<Option<Keypair>> {
    private_file::read_own(path)?
        .map(|bytes| {
            decode(&bytes).with_context(|| {
                format!(
                    "{} is not an Ed25519 identity; restore it from a backup \
                     (`storage-node identity import`)",
                    path.display()
                )
            })
        })
        .transpose()
}

pub(crate) fn generate(random: &mut impl CryptoRng) -> Result<Keypair> {
    let mut secret: [u8; 32] = random.random();
    Keypair::ed25519_from_bytes(&mut secret).context("the system's random source is not usable")
}

/// Refuses where there is one already.
pub(crate) fn save(path: &Path, keypair: &Keypair) -> Result<()> {
    let bytes = keypair.to_protobuf_encoding()?;
    match private_file::create(path, &bytes) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(
            "{} exists already, and an identity is never overwritten; move it away first if you \
             mean to replace it",
            path.display()
        ),
        outcome => outcome.with_context(|| format!("cannot write {}", path.display())),
    }
}

pub(crate) fn to_text(keypair: &Keypair) -> Result<String> {
    let bytes = keypair.to_protobuf_encoding()?;
    Ok(format!("{TEXT_PREFIX}{}\n", hex::encode(bytes)))
}

pub(crate) fn from_text(text: &str) -> Result<Keypair> {
    let bytes = text
        .trim()
        .strip_prefix(TEXT_PREFIX)
        .and_then(|digits| hex::decode(digits).ok())
        .context("this is not an exported identity (`storage-node identity export` writes one)")?;
    decode(&bytes).context("the exported identity is damaged")
}

fn decode(bytes: &[u8]) -> Result<Keypair> {
    let keypair = Keypair::from_protobuf_encoding(bytes)?;
    let _: ed25519::Keypair = keypair.clone().try_into_ed25519()?;
    Ok(keypair)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn an_identity_survives_disk_and_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        assert!(load(&path).unwrap().is_none());
        let keypair = generate(&mut StdRng::seed_from_u64(7)).unwrap();
        save(&path, &keypair).unwrap();
        let loaded = load(&path).unwrap().unwrap();
        assert_eq!(loaded.public(), keypair.public());
        let imported = from_text(&to_text(&loaded).unwrap()).unwrap();
        assert_eq!(imported.public(), keypair.public());
    }

    #[test]
    fn an_identity_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        let mut random = StdRng::seed_from_u64(7);
        let first = generate(&mut random).unwrap();
        save(&path, &first).unwrap();
        let refused = save(&path, &generate(&mut random).unwrap()).unwrap_err();
        assert!(refused.to_string().contains("never overwritten"));
        assert_eq!(load(&path).unwrap().unwrap().public(), first.public());
    }

    #[test]
    fn text_that_is_no_identity_is_refused() {
        assert!(from_text("hello").is_err());
        assert!(from_text("fsn-identity-v1:00ff").is_err());
    }
}
