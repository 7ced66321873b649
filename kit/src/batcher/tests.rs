//! Tests of the batch writer.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::*;

/// What the writer does with an item.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Write(u32),
    PutOffOnce(u32),
    Heavy(u64),
    Panic,
    Forget,
}

use Item::{Forget, Heavy, Panic, PutOffOnce, Write};

type Batches = Arc<Mutex<Vec<Vec<Item>>>>;

/// Notes each batch, then writes it as soon as it may.
struct Notes {
    batches: Batches,
    may: Arc<Semaphore>,
}

impl BatchWriter for Notes {
    type Item = Item;
    type Output = Item;

    fn weight(item: &Item) -> u64 {
        match item {
            Heavy(weight) => *weight,
            _ => 1,
        }
    }

    async fn write(&mut self, items: Vec<Item>) -> Vec<Outcome<Item, Item>> {
        self.batches.lock().unwrap().push(items.clone());
        self.may.acquire().await.unwrap().forget();
        let outcomes = items.into_iter().map_while(|item| match item {
            PutOffOnce(n) => Some(Outcome::PutOff(Write(n))),
            Panic => panic!("out of ink"),
            Forget => None,
            item => Some(Outcome::Done(item)),
        });
        outcomes.collect()
    }
}

struct Fixture {
    batcher: Batcher<Item, Item>,
    batches: Batches,
    may: Arc<Semaphore>,
}

/// Its writer may write `ready` batches.
fn batcher(limits: Limits, ready: usize) -> Fixture {
    let (batches, may) = (Batches::default(), Arc::new(Semaphore::new(ready)));
    let notes = Notes {
        batches: Arc::clone(&batches),
        may: Arc::clone(&may),
    };
    Fixture {
        batcher: Batcher::spawn(limits, notes),
        batches,
        may,
    }
}

impl Fixture {
    /// Submits, and lets everything come to rest.
    async fn submit(&self, item: Item) -> tokio::task::JoinHandle<Result<Item, BatchError>> {
        let batcher = self.batcher.clone();
        let submitted = tokio::spawn(async move { batcher.submit(item).await });
        self.settle().await;
        submitted
    }

    async fn settle(&self) {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    fn batches(&self) -> Vec<Vec<Item>> {
        self.batches.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_item_is_written_at_once() {
    let fixture = batcher(Limits::default(), 1);
    let before = Instant::now();
    assert_eq!(fixture.batcher.submit(Write(1)).await, Ok(Write(1)));
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(fixture.batches(), [[Write(1)]]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_batch_is_written_is_the_next_one_and_each_gets_its_own_outcome() {
    let fixture = batcher(Limits::default(), 0);
    let mut waiting = Vec::new();
    for n in 1..=4 {
        waiting.push(fixture.submit(Write(n)).await);
    }
    fixture.may.add_permits(2);
    for (n, waiting) in (1..).zip(waiting) {
        assert_eq!(waiting.await.unwrap(), Ok(Write(n)));
    }
    let batches = [vec![Write(1)], vec![Write(2), Write(3), Write(4)]];
    assert_eq!(fixture.batches(), batches);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_bounded_in_number() {
    let limits = Limits {
        items: 2,
        ..Limits::default()
    };
    let fixture = batcher(limits, 0);
    for n in 1..=4 {
        fixture.submit(Write(n)).await;
    }
    fixture.may.add_permits(3);
    fixture.settle().await;
    let batches = [vec![Write(1)], vec![Write(2), Write(3)], vec![Write(4)]];
    assert_eq!(fixture.batches(), batches);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_bounded_in_weight_but_for_its_last_item() {
    let limits = Limits {
        weight: 10,
        ..Limits::default()
    };
    let fixture = batcher(limits, 0);
    for weight in [1, 6, 100, 6, u64::MAX] {
        fixture.submit(Heavy(weight)).await;
    }
    fixture.may.add_permits(3);
    fixture.settle().await;
    let batches = [
        vec![Heavy(1)],
        vec![Heavy(6), Heavy(100)],
        vec![Heavy(6), Heavy(u64::MAX)],
    ];
    assert_eq!(fixture.batches(), batches);
}

#[tokio::test(start_paused = true)]
async fn whoever_finds_the_queue_full_waits_for_room() {
    let limits = Limits {
        queue: 1,
        ..Limits::default()
    };
    let fixture = batcher(limits, 0);
    let mut waiting = Vec::new();
    for n in 1..=3 {
        waiting.push(fixture.submit(Write(n)).await);
    }
    waiting[2].abort(); // it had not been taken yet: it has submitted nothing
    fixture.settle().await;
    fixture.may.add_permits(3);
    fixture.settle().await;
    assert_eq!(fixture.batches(), [[Write(1)], [Write(2)]]);
}

#[tokio::test(start_paused = true)]
async fn an_item_is_written_although_its_submitter_has_gone() {
    let fixture = batcher(Limits::default(), 0);
    fixture.submit(Write(1)).await;
    fixture.submit(Write(2)).await.abort();
    fixture.may.add_permits(2);
    fixture.settle().await;
    assert_eq!(fixture.batches(), [[Write(1)], [Write(2)]]);
}

#[tokio::test(start_paused = true)]
async fn what_was_queued_is_written_although_no_handle_is_left() {
    let Fixture {
        batcher,
        batches,
        may,
    } = batcher(Limits::default(), 0);
    for n in 1..=3 {
        let mut submitted = Box::pin(batcher.submit(Write(n)));
        assert!(futures::poll!(&mut submitted).is_pending());
    }
    drop(batcher);
    may.add_permits(1);
    while batches.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*batches.lock().unwrap(), [[Write(1), Write(2), Write(3)]]);
}

#[tokio::test(start_paused = true)]
async fn what_is_put_off_comes_again_after_the_pause_and_holds_nobody_back() {
    let fixture = batcher(Limits::default(), 9);
    let before = Instant::now();
    let put_off = fixture.submit(PutOffOnce(1)).await;
    assert_eq!(fixture.batcher.submit(Write(2)).await, Ok(Write(2)));
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(put_off.await.unwrap(), Ok(Write(1)));
    let elapsed = before.elapsed();
    let pause = Limits::default().pause;
    assert!((pause..pause * 2).contains(&elapsed), "{elapsed:?}");
    assert_eq!(fixture.batches(), [[PutOffOnce(1)], [Write(2)], [Write(1)]]);
}

#[tokio::test(start_paused = true)]
async fn what_is_put_off_comes_again_although_others_never_stop() {
    let fixture = batcher(Limits::default(), 1000);
    let put_off = fixture.submit(PutOffOnce(0)).await;
    for n in 1.. {
        fixture.batcher.submit(Write(n)).await.unwrap();
        if put_off.is_finished() {
            break;
        }
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert_eq!(put_off.await.unwrap(), Ok(Write(0)));
}

#[tokio::test(start_paused = true)]
async fn many_that_are_put_off_make_others_wait_and_not_the_memory_grow() {
    let limits = Limits {
        items: 2,
        ..Limits::default()
    };
    let fixture = batcher(limits, 9);
    let first = fixture.submit(PutOffOnce(1)).await;
    let second = fixture.submit(PutOffOnce(2)).await;
    let other = fixture.submit(Write(3)).await;
    for (n, waiting) in (1..).zip([first, second, other]) {
        assert_eq!(waiting.await.unwrap(), Ok(Write(n)));
    }
    let batches = [
        vec![PutOffOnce(1)],
        vec![PutOffOnce(2)],
        vec![Write(1), Write(2)],
        vec![Write(3)],
    ];
    assert_eq!(fixture.batches(), batches);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_for_all_who_wait_and_all_who_come_and_is_told() {
    let fixture = batcher(Limits::default(), 0);
    let written = fixture.submit(Panic).await;
    let queued = fixture.submit(Write(1)).await;
    fixture.may.add_permits(1);
    let panicked = BatchError::Panicked("out of ink".to_owned());
    assert_eq!(fixture.batcher.ended().await, panicked);
    assert_eq!(written.await.unwrap(), Err(panicked.clone()));
    assert_eq!(queued.await.unwrap(), Err(panicked.clone()));
    assert_eq!(fixture.batcher.submit(Write(2)).await, Err(panicked));
}

#[tokio::test(start_paused = true)]
async fn an_item_that_the_writer_forgot_is_an_error_and_the_next_is_written() {
    let fixture = batcher(Limits::default(), 2);
    let forgotten = fixture.batcher.submit(Forget).await;
    assert_eq!(forgotten, Err(BatchError::Unanswered));
    assert_eq!(fixture.batcher.submit(Write(1)).await, Ok(Write(1)));
}

#[test]
fn the_end_of_the_runtime_is_an_error_and_no_hang() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap()
    };
    let first = runtime();
    let fixture = first.block_on(async { batcher(Limits::default(), 0) });
    drop(first);
    let submitted = runtime().block_on(fixture.batcher.submit(Write(1)));
    assert_eq!(submitted, Err(BatchError::Stopped));
}
