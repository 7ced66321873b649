//! The BLAKE3 tree over a blob, from visited leaves and the subtrees between them.

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use blake3::{CHUNK_LEN, Hasher};

/// A leaf that a challenge visited: its index, and its bytes.
pub(super) type Visited<'a> = (u64, &'a [u8]);

/// The root over `length` bytes. `visited` is in ascending order and not empty; `unvisited` gives the
/// hash of each largest subtree without a visited leaf, by offset and length, asked in pre-order.
pub(super) fn root<E>(
    length: u64,
    visited: &[Visited<'_>],
    mut unvisited: impl FnMut(u64, u64) -> Result<ChainingValue, E>,
) -> Result<[u8; 32], E> {
    if length <= CHUNK_LEN as u64 {
        return Ok(*blake3::hash(visited[0].1).as_bytes());
    }
    let (left, right) = children(0, length, visited, &mut unvisited)?;
    Ok(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
}

fn children<E>(
    offset: u64,
    length: u64,
    visited: &[Visited<'_>],
    unvisited: &mut impl FnMut(u64, u64) -> Result<ChainingValue, E>,
) -> Result<(ChainingValue, ChainingValue), E> {
    let left = left_subtree_len(length);
    let middle = (offset + left) / CHUNK_LEN as u64;
    let (in_left, in_right) = visited.split_at(visited.partition_point(|leaf| leaf.0 < middle));
    Ok((
        subtree(offset, left, in_left, unvisited)?,
        subtree(offset + left, length - left, in_right, unvisited)?,
    ))
}

/// Halves at each call: at most 54 deep for any 64-bit length.
fn subtree<E>(
    offset: u64,
    length: u64,
    visited: &[Visited<'_>],
    unvisited: &mut impl FnMut(u64, u64) -> Result<ChainingValue, E>,
) -> Result<ChainingValue, E> {
    match visited {
        [] => unvisited(offset, length),
        [(_, leaf), ..] if length <= CHUNK_LEN as u64 => {
            let mut hasher = Hasher::new();
            hasher.set_input_offset(offset).update(leaf);
            Ok(hasher.finalize_non_root())
        }
        _ => {
            let (left, right) = children(offset, length, visited, unvisited)?;
            Ok(merge_subtrees_non_root(&left, &right, Mode::Hash))
        }
    }
}
