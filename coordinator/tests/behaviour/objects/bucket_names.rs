//! Buckets, their names, and what has happened in them.

use super::*;

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn names_of_buckets_are_unique_bounded_in_number_and_rest_when_they_are_free(pool: PgPool) {
    let settings = ["objects.max_buckets_per_user=2"];
    let coordinator = Coordinator::with(pool.clone(), &settings).await;
    let objects = &coordinator.app.objects;
    let (one, _) = coordinator.user().await;
    let (other, _) = coordinator.user().await;
    let bucket = buckets::create(objects, one, &name("mine"), super::PLAIN)
        .await
        .unwrap();
    let again = buckets::create(objects, one, &name("mine"), super::PLAIN).await;
    assert!(matches!(again, Err(ObjectError::NameYours)));
    let theirs = buckets::create(objects, other, &name("mine"), super::PLAIN).await;
    assert!(matches!(theirs, Err(ObjectError::NameTaken)));
    assert!(matches!(
        objects.bucket(other, "mine").await,
        Err(ObjectError::NotYours)
    ));
    buckets::create(objects, one, &name("second"), super::PLAIN)
        .await
        .unwrap();
    let third = buckets::create(objects, one, &name("third"), super::PLAIN).await;
    assert!(matches!(
        third,
        Err(ObjectError::TooManyBuckets { limit: 2 })
    ));

    buckets::delete(objects, &bucket).await.unwrap();
    let early = buckets::create(objects, other, &name("mine"), super::PLAIN).await;
    assert!(matches!(early, Err(ObjectError::NameRests)));
    let rested = "UPDATE resting_bucket_names SET until = now()";
    let back = buckets::create(objects, one, &name("mine"), super::PLAIN)
        .await
        .unwrap();
    buckets::delete(objects, &back).await.unwrap();
    sqlx::query(rested).execute(&pool).await.unwrap();
    buckets::create(objects, other, &name("mine"), super::PLAIN)
        .await
        .unwrap();
    let contested = name("one-of-many");
    let at_once = (0..6).map(|_| buckets::create(objects, other, &contested, super::PLAIN));
    let made = join_all(at_once)
        .await
        .into_iter()
        .filter(Result::is_ok)
        .count();
    assert_eq!(made, 1);
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn the_feed_of_changes_tells_deletions_and_when_it_is_too_late(pool: PgPool) {
    let shop = Shop::open(pool.clone()).await;
    shop.put("a", b"1").await;
    shop.put("b", b"1").await;
    shop.delete("a").await;
    let (found, last) = changes::since(shop.objects(), &shop.bucket, 1, 10)
        .await
        .unwrap();
    let told: Vec<_> = found
        .iter()
        .map(|c| (c.seq, c.key.as_str(), c.what.as_str()))
        .collect();
    assert_eq!(told, [(2, "b", "put"), (3, "a", "removed")]);
    assert_eq!(last, 3);
    let (nothing, _) = changes::since(shop.objects(), &shop.bucket, 3, 10)
        .await
        .unwrap();
    assert!(nothing.is_empty());
    let old = "DELETE FROM object_changes WHERE change_seq < 3";
    sqlx::query(old).execute(&pool).await.unwrap();
    let late = changes::since(shop.objects(), &shop.bucket, 1, 10).await;
    assert!(matches!(late, Err(ObjectError::ChangesGone)));
    assert!(
        changes::since(shop.objects(), &shop.bucket, 2, 10)
            .await
            .is_ok()
    );
}
