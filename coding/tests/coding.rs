//! What pieces are, and that any k of them give the chunk back.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use coding::{Code, CodingError};
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use proto::Piece;

const CODES: [(u32, u32); 4] = [(8, 12), (3, 6), (4, 6), (10, 14)];

/// Byte i of a text of n bytes is (7 i + n) mod 251, as in the vectors of `sealing`.
fn text(length: usize) -> Bytes {
    let byte = |i: usize| ((7 * i + length) % 251) as u8;
    (0..length).map(byte).collect()
}

fn numbered(pieces: &[Bytes]) -> Vec<(u8, Bytes)> {
    (0..).zip(pieces.iter().cloned()).collect()
}

/// Every choice of `count` of so many.
fn choices(of: u8, count: usize) -> Vec<Vec<u8>> {
    let all = (0_u32..1 << of).filter(|set| set.count_ones() as usize == count);
    let members = |set: u32| (0..of).filter(|n| set & (1 << n) != 0).collect();
    all.map(members).collect()
}

#[test]
fn every_mix_of_lost_pieces_that_a_code_allows_decodes() {
    for (needed, pieces) in [(8, 12), (3, 6)] {
        let code = Code::new(needed, pieces).unwrap();
        for length in [1, 2, 16, 4099] {
            let chunk = text(length);
            let all = numbered(&code.encode(std::slice::from_ref(&chunk)).unwrap());
            for lost in 0..=(pieces - needed) as usize {
                for kept in choices(pieces as u8, pieces as usize - lost) {
                    let some: Vec<_> = kept.iter().map(|n| all[usize::from(*n)].clone()).collect();
                    assert_eq!(code.decode(length as u32, &some).as_ref(), Ok(&chunk));
                }
            }
        }
    }
}

#[test]
fn one_piece_too_few_gives_nothing() {
    let code = Code::new(3, 6).unwrap();
    let all = numbered(&code.encode(&[text(100)]).unwrap());
    for kept in choices(6, 2) {
        let mut some: Vec<_> = kept.iter().map(|n| all[usize::from(*n)].clone()).collect();
        some.push(some[0].clone()); // the same once more is none
        let few = CodingError::TooFew { needed: 3, got: 2 };
        assert_eq!(code.decode(100, &some), Err(few));
    }
}

#[test]
fn pieces_of_data_are_the_chunk_itself_and_the_last_is_padded() {
    let code = Code::new(3, 6).unwrap();
    let chunk = text(13);
    let pieces = code.encode(&[chunk.slice(..5), chunk.slice(5..)]).unwrap();
    assert_eq!(code.piece_len(13), 6);
    assert_eq!(pieces[0], chunk.slice(..6));
    assert_eq!(pieces[1], chunk.slice(6..12));
    assert_eq!(&pieces[2][..], [chunk[12], 0, 0, 0, 0, 0]);
    assert!(pieces.iter().all(|piece| piece.len() == 6));
}

#[test]
fn what_is_no_code_or_no_piece_of_it_is_refused() {
    for (needed, pieces) in [(0, 3), (3, 3), (4, 3), (200, 256)] {
        let refused = CodingError::NoCode { needed, pieces };
        assert_eq!(Code::new(needed, pieces), Err(refused));
    }
    assert!(Code::of(Piece::new(11, 8, 12).unwrap()).is_ok());
    let code = Code::new(3, 6).unwrap();
    assert_eq!(code.encode(&[]), Err(CodingError::Empty));
    assert_eq!(code.decode(0, &[]), Err(CodingError::Empty));
    let mut all = numbered(&code.encode(&[text(60)]).unwrap());
    all[5].0 = 6;
    assert_eq!(code.decode(60, &all), Err(CodingError::NoSuchPiece(6)));
    all[5] = (5, text(18));
    let wrong = CodingError::WrongLength {
        number: 5,
        got: 18,
        expected: 20,
    };
    assert_eq!(code.decode(60, &all), Err(wrong));
}

/// What is stored today decodes tomorrow, whichever version of the library codes then.
#[test]
fn parity_stays_as_it_is() {
    let vectors = include_str!("../vectors/reed-solomon.txt");
    let mut cases = 0;
    for line in vectors.lines().filter(|line| !line.starts_with('#')) {
        let (what, parity) = line.split_once(" = ").unwrap();
        let [code, length, number] = what.split(", ").collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let (needed, pieces) = code.split_once(" of ").unwrap();
        let code = Code::new(needed.parse().unwrap(), pieces.parse().unwrap()).unwrap();
        let length: usize = length.strip_suffix(" bytes").unwrap().parse().unwrap();
        let number: usize = number.strip_prefix("piece ").unwrap().parse().unwrap();
        let all = code.encode(&[text(length)]).unwrap();
        assert_eq!(hex::encode(&all[number]), parity, "{what}");
        cases += 1;
    }
    assert!(cases >= 20, "{cases}");
}

proptest! {
    #[test]
    fn whatever_the_chunk_and_whichever_pieces_are_left_it_comes_back(
        chunk in prop::collection::vec(any::<u8>(), 1..5000), code in 0_usize..CODES.len(),
        kept in subsequence((0_u8..14).collect::<Vec<_>>(), 0..14), cut: Index,
    ) {
        let (needed, pieces) = CODES[code];
        let code = Code::new(needed, pieces).unwrap();
        let chunk = Bytes::from(chunk);
        let cut = cut.index(chunk.len());
        let all = numbered(&code.encode(&[chunk.slice(..cut), chunk.slice(cut..)]).unwrap());
        let some: Vec<_> = all.iter().filter(|(n, _)| kept.contains(n)).cloned().collect();
        let decoded = code.decode(chunk.len() as u32, &some);
        if some.len() >= needed as usize {
            prop_assert_eq!(decoded, Ok(chunk));
        } else {
            let few = matches!(decoded, Err(CodingError::TooFew { .. }));
            prop_assert!(few);
        }
    }

    #[test]
    fn whatever_is_handed_in_as_pieces_decodes_or_is_refused(
        chunk_bytes in prop_oneof![0_u32..64, any::<u32>()],
        pieces in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..12)), 0..14),
    ) {
        let pieces: Vec<_> = pieces.into_iter().map(|(n, bytes)| (n % 8, Bytes::from(bytes))).collect();
        let code = Code::new(3, 6).unwrap();
        if let Ok(chunk) = code.decode(chunk_bytes, &pieces) {
            prop_assert_eq!(chunk.len(), chunk_bytes as usize);
        }
    }
}
