//! `vectors/end_to_end.json`: what a second implementation, in Python, makes of the same keys, nonces and texts. And what
//! servers, disks and other people may hand in instead: it does not open, and nothing panics.

#![allow(clippy::unwrap_used)]

use std::convert::Infallible;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bytes::{Bytes, BytesMut};
use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{SeedableRng, TryCryptoRng, TryRng};
use sealing::OpenError;
use sealing::end_to_end::content::{
    HEADER_LEN, SEGMENT_LEN, sealed_len, sealed_range, segments_of, segments_with, text_len,
};
use sealing::end_to_end::{
    Commitments, ContentOpener, ContentSealer, Envelope, FileKey, NotAPhrase, Root, SegmentOpener,
    ShareId, ShareSecret, Shared,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

#[derive(Deserialize)]
struct Vectors {
    root: String,
    phrase: String,
    account_public_key: String,
    bucket_id: String,
    vault_key: String,
    file_key: String,
    salt: String,
    content: Vec<ContentCase>,
    names: Vec<NameCase>,
    envelope: String,
    share: ShareCase,
}

#[derive(Deserialize)]
struct ContentCase {
    plain_len: usize,
    cipher_len: u64,
    segments: u64,
    cipher_sha256: String,
    first_96: String,
}

#[derive(Deserialize)]
struct NameCase {
    path: String,
    encoded: String,
    dir_key: String,
}

#[derive(Deserialize)]
struct ShareCase {
    id: String,
    secret: String,
    sealed: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/end_to_end.json")).unwrap()
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

/// Hands out what the vectors name: first a salt, then nonces that count.
struct Named {
    salt: Option<Vec<u8>>,
    next: u64,
}

impl TryRng for Named {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("only whole nonces and salts are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("only whole nonces and salts are drawn")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        if let Some(salt) = self.salt.take() {
            bytes.copy_from_slice(&salt);
            return Ok(());
        }
        bytes[..4].fill(0);
        bytes[4..].copy_from_slice(&self.next.to_be_bytes());
        self.next += 1;
        Ok(())
    }
}

impl TryCryptoRng for Named {}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + 7) as u8).collect()
}

fn file_key() -> FileKey {
    FileKey::from_bytes(Zeroizing::new([7; 32]))
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(11)
}

/// Sealed, as pieces of these lengths come.
fn sealed(text: &[u8], pieces: usize, part: u32) -> Vec<u8> {
    let (mut rng, mut out) = (rng(), BytesMut::new());
    let mut sealer = ContentSealer::new(&file_key(), part, &mut rng).unwrap();
    for piece in text.chunks(pieces) {
        sealer.push(piece, &mut out, &mut rng).unwrap();
    }
    sealer.finish(&mut out, &mut rng).unwrap();
    out.to_vec()
}

fn opened(sealed: &[u8], pieces: usize, key: FileKey, part: u32) -> Result<Vec<u8>, OpenError> {
    let (mut opener, mut out) = (ContentOpener::new(key, part), BytesMut::new());
    for piece in sealed.chunks(pieces) {
        opener.push(piece, &mut out)?;
    }
    opener.finish(&mut out)?;
    Ok(out.to_vec())
}

#[test]
fn content_is_what_the_other_implementation_makes() {
    let vectors = vectors();
    assert_eq!(bytes::<32>(&vectors.file_key), *file_key().as_bytes());
    for case in vectors.content {
        let text = text(case.plain_len);
        let mut rng = Named {
            salt: Some(hex::decode(&vectors.salt).unwrap()),
            next: 0,
        };
        let mut out = BytesMut::new();
        let mut sealer = ContentSealer::new(&file_key(), 1, &mut rng).unwrap();
        for piece in text.chunks(10_000) {
            sealer.push(piece, &mut out, &mut rng).unwrap();
        }
        sealer.finish(&mut out, &mut rng).unwrap();
        let length = case.plain_len as u64;
        assert_eq!(segments_of(length), case.segments);
        assert_eq!(sealed_len(length), Some(case.cipher_len));
        assert_eq!(text_len(case.cipher_len), Some(length));
        assert_eq!(out.len() as u64, case.cipher_len);
        let begin = hex::encode(&out[..96.min(out.len())]);
        assert_eq!(begin, case.first_96, "{length}");
        assert_eq!(hex::encode(Sha256::digest(&out)), case.cipher_sha256);
        assert_eq!(opened(&out, 4096, file_key(), 1).unwrap(), text);
    }
}

#[test]
fn keys_and_names_are_what_the_other_implementation_makes() {
    let vectors = vectors();
    let root = Root::from_bytes(Zeroizing::new(bytes(&vectors.root)));
    assert_eq!(*root.phrase(), vectors.phrase);
    let same = Root::from_phrase(&vectors.phrase.to_uppercase()).unwrap();
    assert_eq!(same.as_bytes(), root.as_bytes());
    let account = SigningKey::from_bytes(&root.account_seed()).verifying_key();
    assert_eq!(hex::encode(account.as_bytes()), vectors.account_public_key);
    let vault = root.vault(&bytes(&vectors.bucket_id));
    assert_eq!(hex::encode(vault.as_bytes()), vectors.vault_key);
    for case in vectors.names {
        assert_eq!(vault.seal_name(&case.path).unwrap(), case.encoded);
        assert_eq!(vault.open_name(&case.encoded).unwrap(), case.path);
        let directory = vault.directory_of(&case.path);
        assert_eq!(hex::encode(directory.as_bytes()), case.dir_key);
    }
}

#[test]
fn envelopes_and_links_are_what_the_other_implementation_makes() {
    let vectors = vectors();
    let bucket = bytes(&vectors.bucket_id);
    let vault = Root::from_bytes(Zeroizing::new(bytes(&vectors.root))).vault(&bucket);
    let path = "photos/2026/ü.jpg";
    let (directory, name) = (vault.directory_of(path), vault.seal_name(path).unwrap());
    let sealed = hex::decode(&vectors.envelope).unwrap();
    let envelope = directory.open_envelope((&bucket, &name), &sealed).unwrap();
    assert_eq!(envelope.size, 200_000);
    assert_eq!(envelope.media_type.as_deref(), Some("image/jpeg"));
    let no_nonce = || Named {
        salt: Some(vec![0; 12]),
        next: 0,
    };
    let again = directory.seal_envelope((&bucket, &name), &envelope, &mut no_nonce());
    assert_eq!(again.unwrap(), sealed);

    let id = ShareId::parse(&vectors.share.id).unwrap();
    let secret = ShareSecret::parse(&vectors.share.secret).unwrap();
    assert_eq!(
        (id.to_string(), secret.expose()),
        (vectors.share.id, vectors.share.secret)
    );
    let sealed = hex::decode(&vectors.share.sealed).unwrap();
    let shared = secret.open(id, &sealed).unwrap();
    assert_eq!(shared.name, "ü.jpg");
    assert_eq!(shared.key().as_bytes(), file_key().as_bytes());
    // Its members stand in another order there than here: what it says is the same.
    let again = secret.seal(id, &shared, &mut no_nonce()).unwrap();
    assert_eq!(secret.open(id, &again).unwrap(), shared);
}

#[test]
fn altered_content_is_refused_before_any_of_the_segment_is_handed_out() {
    let text = text(200_000);
    let good = sealed(&text, 7_000, 1);
    let last = good.len() - 1;
    for at in [
        0,
        8,
        9,
        10,
        11,
        12,
        20,
        40,
        63,
        64,
        100,
        SEGMENT_LEN,
        2 * SEGMENT_LEN + 5,
        last,
    ] {
        let mut changed = good.clone();
        changed[at] ^= 1;
        let (mut opener, mut out) = (ContentOpener::new(file_key(), 1), BytesMut::new());
        let taken = opener.push(&changed, &mut out);
        taken.and_then(|()| opener.finish(&mut out)).unwrap_err();
        // What came before the segment was right, and nothing else was handed out.
        assert!(text.starts_with(&out), "{at}");
        assert!(out.len() <= at.saturating_sub(at % SEGMENT_LEN), "{at}");
    }
}

#[test]
fn content_that_was_cut_put_together_anew_or_taken_from_elsewhere_is_refused() {
    let text = text(200_000);
    let good = sealed(&text, 7_000, 1);
    let refused = |changed: &[u8]| opened(changed, 50_000, file_key(), 1) == Err(OpenError);
    for end in [
        0,
        1,
        63,
        64,
        91,
        SEGMENT_LEN,
        2 * SEGMENT_LEN,
        good.len() - 1,
    ] {
        assert!(refused(&good[..end]), "{end}");
    }
    let segment = |i: usize| &good[i * SEGMENT_LEN..(i + 1) * SEGMENT_LEN];
    let rest = &good[3 * SEGMENT_LEN..];
    assert!(refused(
        &[segment(0), segment(2), segment(1), rest].concat()
    ));
    assert!(refused(
        &[segment(0), segment(1), segment(1), segment(2), rest].concat()
    ));
    assert!(refused(&[segment(0), segment(2), rest].concat()));
    assert!(refused(&[&good[..], &[0]].concat()));
    let other = sealed(&text, 200_000, 2);
    assert!(refused(&other), "another part");
    let foreign = [
        segment(0),
        &other[SEGMENT_LEN..2 * SEGMENT_LEN],
        segment(2),
        rest,
    ]
    .concat();
    assert!(refused(&foreign));
    let wrong = FileKey::from_bytes(Zeroizing::new([8; 32]));
    assert_eq!(opened(&good, 50_000, wrong, 1), Err(OpenError));
}

#[test]
fn an_upload_that_goes_on_later_is_the_same_content() {
    let text = text(200_000);
    let (mut rng, mut out) = (rng(), BytesMut::new());
    let mut sealer = ContentSealer::new(&file_key(), 3, &mut rng).unwrap();
    sealer.push(&text, &mut out, &mut rng).unwrap();
    let header = *sealer.header();
    // It breaks off; two segments are stored.
    out.truncate(2 * SEGMENT_LEN);
    let (_, begin) = (segments_with(&(0..1)), text_begin(2));
    let mut sealer = ContentSealer::resume(&file_key(), 3, header, 2).unwrap();
    sealer.push(&text[begin..], &mut out, &mut rng).unwrap();
    sealer.finish(&mut out, &mut rng).unwrap();
    assert_eq!(opened(&out, 9_999, file_key(), 3).unwrap(), text);
    assert!(ContentSealer::resume(&file_key(), 4, header, 2).is_err());
}

fn text_begin(segment: usize) -> usize {
    (65_444 + (segment - 1) * 65_508) * usize::from(segment > 0)
}

#[test]
fn nothing_opens_at_another_place_than_its_own() {
    let bucket = [1; 16];
    let vault = Root::from_bytes(Zeroizing::new([3; 32])).vault(&bucket);
    let envelope = Envelope {
        commit: Commitments::One([9; 32]),
        k: Zeroizing::new([7; 32]),
        meta: [("colour".to_owned(), "red".to_owned())].into(),
        mtime_ms: Some(-5),
        size: 3,
        media_type: None,
    };
    let (a, b) = (vault.seal_name("a").unwrap(), vault.seal_name("b").unwrap());
    let sealed = vault.seal_envelope((&bucket, &a), &envelope, &mut rng());
    let sealed = sealed.unwrap();
    assert_eq!(vault.open_envelope((&bucket, &a), &sealed), Ok(envelope));
    vault.open_envelope((&bucket, &b), &sealed).unwrap_err();
    vault.open_envelope((&[2; 16], &a), &sealed).unwrap_err();
    let below = vault.directory("d");
    below.open_envelope((&bucket, &a), &sealed).unwrap_err();
    for bit in 0..8 * sealed.len() {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        vault.open_envelope((&bucket, &a), &changed).unwrap_err();
    }
    // A component of one directory is none of another.
    let inner = vault.seal_name("d/a").unwrap();
    let (_, component) = inner.split_once('/').unwrap();
    vault.open_name(component).unwrap_err();
    assert_ne!(component, a);

    let (id, secret) = (ShareId([1; 16]), ShareSecret::generate(&mut rng()));
    let shared = Shared {
        commit: Commitments::One([9; 32]),
        k: Zeroizing::new([7; 32]),
        name: "a".to_owned(),
        size: 3,
        media_type: None,
    };
    let sealed = secret.seal(id, &shared, &mut rng()).unwrap();
    secret.open(ShareId([2; 16]), &sealed).unwrap_err();
    let other = ShareSecret::generate(&mut StdRng::seed_from_u64(12));
    other.open(id, &sealed).unwrap_err();
}

#[test]
fn a_phrase_with_a_mistake_says_where() {
    let phrase = vectors().phrase;
    let words: Vec<&str> = phrase.split(' ').collect();
    let with = |at: usize, word: &str| {
        let mut words = words.clone();
        words[at] = word;
        Root::from_phrase(&words.join(" ")).unwrap_err()
    };
    assert_eq!(with(4, "amuont"), NotAPhrase::Word { number: 5 });
    assert_eq!(with(0, "zoo"), NotAPhrase::Checksum);
    let short = Root::from_phrase(&words[..23].join(" ")).unwrap_err();
    assert_eq!(short, NotAPhrase::Count(23));
}

proptest! {
    #[test]
    fn whatever_is_sealed_opens_whole_and_in_part(
        length in 0_usize..300_000, pieces in 1_usize..100_000, from in 0.0..1.0, to in 0.0..1.0,
    ) {
        let text = text(length);
        let all = sealed(&text, pieces, 1);
        prop_assert_eq!(sealed_len(length as u64), Some(all.len() as u64));
        prop_assert_eq!(text_len(all.len() as u64), Some(length as u64));
        prop_assert_eq!(&opened(&all, pieces, file_key(), 1).unwrap(), &text);
        let at = |share: f64| (length as f64 * share) as u64;
        let range = at(f64::min(from, to))..at(f64::max(from, to));
        let header: [u8; HEADER_LEN] = all[..HEADER_LEN].try_into().unwrap();
        let opener = SegmentOpener::new(&file_key(), 1, &header, all.len() as u64).unwrap();
        let (segments, skip) = segments_with(&range);
        let mut part = Vec::new();
        for segment in segments {
            let place = sealed_range(&(segment..segment + 1), all.len() as u64);
            let bytes = &all[place.start as usize..place.end as usize];
            let text: Bytes = opener.open(segment, bytes.into()).unwrap();
            part.extend_from_slice(&text);
        }
        let wanted = &text[range.start as usize..range.end as usize];
        let length = wanted.len();
        let cut = if part.is_empty() { &[][..] } else { &part[skip as usize..skip as usize + length] };
        prop_assert_eq!(cut, wanted);
    }

    #[test]
    fn names_open_again_and_keep_their_directories(path in "[a-zA-Zäß日/ .]{0,60}") {
        let vault = Root::from_bytes(Zeroizing::new([3; 32])).vault(&[1; 16]);
        let sealed = vault.seal_name(&path).unwrap();
        prop_assert_eq!(sealed.matches('/').count(), path.matches('/').count());
        prop_assert_eq!(vault.open_name(&sealed).unwrap(), path);
    }

    #[test]
    fn sealed_bytes_of_strangers_open_nothing(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let key = || FileKey::from_bytes(Zeroizing::new([1; 32]));
        prop_assert!(opened(&bytes, 100, key(), 1).is_err());
        let vault = Root::from_bytes(Zeroizing::new([3; 32])).vault(&[1; 16]);
        prop_assert!(vault.open_envelope((&[1; 16], "a"), &bytes).is_err());
        let name = BASE64.encode(&bytes);
        prop_assert!(vault.open_name(&name).is_err());
        prop_assert!(vault.open_name(&String::from_utf8_lossy(&bytes)).is_err());
    }
}
