//! What a store says that it holds: digests of groups, and blobs one by one.

use proto::{
    BlobRange, IdsDigest, InventoryAnswer, InventoryAsk, InventoryItem, InventoryRequest,
    MAX_INVENTORY_GROUPS, MAX_INVENTORY_ITEMS,
};

use super::*;

fn digests(group: u32) -> InventoryRequest {
    InventoryRequest::new(vec![BlobRange::ALL], InventoryAsk::Digests { group }).unwrap()
}

fn list() -> InventoryRequest {
    InventoryRequest::new(vec![BlobRange::ALL], InventoryAsk::Items).unwrap()
}

/// Asks until everything has been said.
async fn ask(store: &Store, request: InventoryRequest) -> Vec<InventoryAnswer> {
    let mut answers = Vec::new();
    let mut next = Some(request);
    while let Some(request) = next {
        let answer = store.inventory(request.clone()).await.unwrap();
        request.check(&answer).unwrap();
        next = request.rest(answer.resume_from);
        answers.push(answer);
    }
    answers
}

fn items(answers: Vec<InventoryAnswer>) -> Vec<InventoryItem> {
    answers
        .into_iter()
        .flat_map(|answer| answer.items)
        .collect()
}

async fn filled(dir: &Path, blobs: u64) -> (Store, Vec<BlobId>) {
    let store = open(LayoutKind::Segments, dir);
    let mut ids = Vec::new();
    for seed in 0..blobs {
        ids.push(put(&store, seed, 100).await);
    }
    ids.sort_unstable();
    (store, ids)
}

#[tokio::test]
async fn groups_say_what_is_held_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ids) = filled(dir.path(), 10).await;
    let trash = vec![deletion(ids[3], DeletionMode::Trash)];
    store.delete(trash).await;
    let blob = OnDisk::of(dir.path(), &ids[7]);
    blob.flip_bit(blob.start);
    store.get(ids[7]).await;
    let sound = ids.iter().copied().enumerate();
    let sound: Vec<BlobId> = sound
        .filter(|(n, _)| ![3, 7].contains(n))
        .map(|(_, id)| id)
        .collect();

    let answers = ask(&store, digests(3)).await;
    assert_eq!(answers.len(), 1);
    let told: Vec<_> = answers[0]
        .groups
        .iter()
        .map(|g| (g.count, g.last, g.digest))
        .collect();
    let expected: Vec<_> = sound
        .chunks(3)
        .map(|group| {
            let mut digest = IdsDigest::default();
            group.iter().for_each(|id| digest.add(id));
            (group.len() as u32, group[group.len() - 1], digest.finish())
        })
        .collect();
    assert_eq!(told, expected);
    store.close().await;
}

#[tokio::test]
async fn a_list_has_sound_blobs_and_trash_with_what_is_known_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ids) = filled(dir.path(), 4).await;
    store
        .delete(vec![deletion(ids[2], DeletionMode::Trash)])
        .await;
    let listed = items(ask(&store, list()).await);
    let told: Vec<_> = listed
        .iter()
        .map(|item| (item.blob_id, item.trashed))
        .collect();
    let expected: Vec<_> = ids.iter().map(|id| (*id, *id == ids[2])).collect();
    assert_eq!(told, expected);
    for item in listed {
        let row = row(dir.path(), &item.blob_id).unwrap();
        assert_eq!((item.length, item.locator), (100, row.locator));
        assert!(item.age_s < 60);
    }
    store.close().await;
}

#[tokio::test]
async fn only_the_ranges_that_were_asked_for_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ids) = filled(dir.path(), 12).await;
    let range = |first: usize, last: usize| BlobRange {
        first: ids[first],
        last: ids[last],
    };
    let ranges = vec![range(1, 3), range(6, 6), range(9, 11)];
    let request = InventoryRequest::new(ranges.clone(), InventoryAsk::Items).unwrap();
    let listed: Vec<_> = items(ask(&store, request).await)
        .iter()
        .map(|i| i.blob_id)
        .collect();
    let expected = [&ids[1..4], &ids[6..7], &ids[9..12]].concat();
    assert_eq!(listed, expected);

    // No group spans two ranges.
    let ask_all = InventoryAsk::Digests { group: 1000 };
    let request = InventoryRequest::new(ranges, ask_all).unwrap();
    let answers = ask(&store, request).await;
    let counts: Vec<u32> = answers[0].groups.iter().map(|group| group.count).collect();
    assert_eq!(counts, [3, 1, 3]);
    store.close().await;
}

/// A catalogue of so many blobs, none of which has bytes.
fn catalogue_of(dir: &Path, blobs: u64) -> Vec<BlobId> {
    drop(open(LayoutKind::Files, dir));
    let mut catalogue = Catalogue::open(&catalogue_path(dir)).unwrap();
    let mut ids: Vec<_> = (0..blobs).map(|n| BlobId::of(&n.to_le_bytes())).collect();
    ids.sort_unstable();
    let row = |id: &BlobId| Row {
        id: *id,
        length: 1,
        stored_at_ms: 0,
        locator: locator(0),
        state: BlobState::Live,
        state_at_ms: 0,
        disk_bytes: 1,
        location: None,
        deferred_until_ms: None,
    };
    catalogue
        .write(|tx| ids.iter().try_for_each(|id| tx.upsert(&row(id))))
        .unwrap();
    catalogue.close().unwrap();
    ids
}

#[tokio::test]
async fn an_answer_is_bounded_and_the_next_one_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let ids = catalogue_of(dir.path(), 70_000);
    let store = open(LayoutKind::Files, dir.path());

    let answers = ask(&store, digests(1024)).await;
    let sizes: Vec<usize> = answers.iter().map(|answer| answer.groups.len()).collect();
    assert_eq!(sizes, [64, 5], "65,536 rows and the rest");
    assert_eq!(answers[0].resume_from, Some(ids[65_536]));

    let answers = ask(&store, digests(1)).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.groups.len() <= MAX_INVENTORY_GROUPS)
    );
    let lasts: Vec<_> = answers
        .iter()
        .flat_map(|a| a.groups.iter().map(|g| g.last))
        .collect();
    assert_eq!(lasts, ids);

    let answers = ask(&store, list()).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.items.len() <= MAX_INVENTORY_ITEMS)
    );
    let listed: Vec<_> = items(answers).iter().map(|item| item.blob_id).collect();
    assert_eq!(listed, ids);
    store.close().await;
}
