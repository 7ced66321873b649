//! The signed page that tells nodes where the coordinators are.

use coordinator::database::Pool;
use coordinator::keys::network_document::{publish, remove};
use coordinator::keys::{self, KeyRing};
use http::StatusCode;
use kit::{Clock, Entropy};
use proto::NetworkDocument;
use sqlx::PgPool;

use crate::support::Coordinator;

async fn two_coordinators(pool: &PgPool) -> (KeyRing, KeyRing) {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut rng = Entropy::system().rng();
    let a = keys::open(first.path(), &Pool::new(pool.clone()), &mut rng)
        .await
        .unwrap();
    for name in ["network.key", "master-1.key", "token-1.key"] {
        std::fs::copy(first.path().join(name), second.path().join(name)).unwrap();
    }
    let b = keys::open(second.path(), &Pool::new(pool.clone()), &mut rng)
        .await
        .unwrap();
    (a, b)
}

fn at(port: u16) -> Vec<String> {
    vec![format!("/ip4/192.0.2.1/tcp/{port}")]
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_new_serial_is_signed_only_when_something_changes(pool: PgPool) {
    let (keys, _) = two_coordinators(&pool).await;
    let first = publish(
        &Pool::new(pool.clone()),
        &keys,
        at(4001),
        Clock::system().now(),
    )
    .await
    .unwrap()
    .get();
    assert_eq!(first.serial, 1);
    first.verify().unwrap();
    let restarted = publish(
        &Pool::new(pool.clone()),
        &keys,
        at(4001),
        Clock::system().now(),
    )
    .await
    .unwrap()
    .get();
    assert_eq!(restarted, first);
    let moved = publish(
        &Pool::new(pool.clone()),
        &keys,
        at(4002),
        Clock::system().now(),
    )
    .await
    .unwrap()
    .get();
    assert_eq!(moved.serial, 2);
    assert_eq!(moved.coordinators[0].addrs, at(4002));
    moved.verify().unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_coordinator_learns_of_another_that_joins(pool: PgPool) {
    let (a, b) = two_coordinators(&pool).await;
    let current = publish(
        &Pool::new(pool.clone()),
        &a,
        at(4001),
        Clock::system().now(),
    )
    .await
    .unwrap();
    publish(
        &Pool::new(pool.clone()),
        &b,
        at(4002),
        Clock::system().now(),
    )
    .await
    .unwrap();
    assert_eq!(current.get().coordinators.len(), 1);
    current.refresh(&Pool::new(pool.clone())).await.unwrap();
    let document = current.get();
    assert_eq!((document.serial, document.coordinators.len()), (2, 2));
    document.verify().unwrap();
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn coordinators_that_join_at_once_are_both_listed(pool: PgPool) {
    let (a, b) = two_coordinators(&pool).await;
    let db = Pool::new(pool.clone());
    let (first, second) = tokio::join!(
        publish(&db, &a, at(1), Clock::system().now()),
        publish(&db, &b, at(2), Clock::system().now())
    );
    let (first, second) = (first.unwrap().get(), second.unwrap().get());
    let newest = if first.serial > second.serial {
        first
    } else {
        second
    };
    assert_eq!((newest.serial, newest.coordinators.len()), (2, 2));
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn addresses_that_nodes_would_refuse_are_not_published(pool: PgPool) {
    let (keys, _) = two_coordinators(&pool).await;
    let too_many = (0..100).flat_map(at).collect();
    assert!(
        publish(
            &Pool::new(pool.clone()),
            &keys,
            too_many,
            Clock::system().now()
        )
        .await
        .is_err()
    );
    let published = publish(
        &Pool::new(pool.clone()),
        &keys,
        at(4001),
        Clock::system().now(),
    )
    .await
    .unwrap()
    .get();
    assert_eq!(published.serial, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_api_serves_a_document_that_nodes_accept(pool: PgPool) {
    let coordinator = Coordinator::start(pool).await;
    let answer = coordinator.visitor().get("/api/v1/network").await;
    let document: NetworkDocument = serde_json::from_value(answer.expect(StatusCode::OK)).unwrap();
    document.verify().unwrap();
    assert_eq!(document.network_id, coordinator.app.keys.ring.network_id);
    let listening = coordinator.addrs.iter().map(ToString::to_string);
    assert_eq!(
        document.coordinators[0].addrs,
        listening.collect::<Vec<_>>()
    );
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn a_coordinator_that_is_gone_can_be_taken_out(pool: PgPool) {
    let (a, b) = two_coordinators(&pool).await;
    let current = publish(
        &Pool::new(pool.clone()),
        &a,
        at(4001),
        Clock::system().now(),
    )
    .await
    .unwrap();
    publish(
        &Pool::new(pool.clone()),
        &b,
        at(4002),
        Clock::system().now(),
    )
    .await
    .unwrap();
    let gone = b.identity.public().to_peer_id().to_string();
    remove(&Pool::new(pool.clone()), &a, &gone, Clock::system().now())
        .await
        .unwrap();
    current.refresh(&Pool::new(pool.clone())).await.unwrap();
    let document = current.get();
    assert_eq!((document.serial, document.coordinators.len()), (3, 1));
    document.verify().unwrap();
    let error = remove(&Pool::new(pool.clone()), &a, &gone, Clock::system().now())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("coordinators list"), "{error}");
}
