//! Versions, and what is not served.

use super::*;

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn versions_are_kept_listed_and_taken_away(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let s3 = &shop.s3;
    let keep = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    s3.put("/b-1", keep)
        .query("versioning", "")
        .send()
        .await
        .fine();
    let status = s3.get("/b-1").query("versioning", "").send().await;
    assert_eq!(status.fine().only("Status"), "Enabled");
    let first = s3
        .put("/b-1/k", "1")
        .send()
        .await
        .fine()
        .header("x-amz-version-id")
        .to_owned();
    s3.put("/b-1/k", "2").send().await.fine();
    let marker = s3.call(Method::DELETE, "/b-1/k").send().await;
    assert_eq!(marker.fine().header("x-amz-delete-marker"), "true");
    let gone = s3.get("/b-1/k").send().await;
    gone.refused(404, "NoSuchKey");
    assert_eq!(gone.header("x-amz-delete-marker"), "true");
    let old = s3.get("/b-1/k").query("versionId", &first).send().await;
    assert_eq!(old.fine().bytes()[..], *b"1");
    let list = s3.get("/b-1").query("versions", "").send().await;
    assert_eq!(list.fine().all("VersionId").len(), 3);
    assert_eq!(list.all("DeleteMarker").len(), 1);
    let marker = marker.header("x-amz-version-id");
    s3.call(Method::DELETE, "/b-1/k")
        .query("versionId", marker)
        .send()
        .await
        .fine();
    assert_eq!(s3.get("/b-1/k").send().await.fine().bytes()[..], *b"2");
}

#[sqlx::test(migrator = "coordinator::database::MIGRATIONS")]
async fn what_is_not_served_says_so_and_what_is_not_set_is_no_error_of_the_service(pool: PgPool) {
    let shop = shop(pool.clone()).await;
    let s3 = &shop.s3;
    for (query, code) in [
        ("tagging", "NoSuchTagSet"),
        ("cors", "NoSuchCORSConfiguration"),
        ("policy", "NoSuchBucketPolicy"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
    ] {
        s3.get("/b-1")
            .query(query, "")
            .send()
            .await
            .refused(404, code);
    }
    for query in [
        "acl",
        "requestPayment",
        "logging",
        "notification",
        "versioning",
    ] {
        s3.get("/b-1").query(query, "").send().await.fine();
    }
    for (name, value) in [
        ("x-amz-acl", "public-read"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
    ] {
        let put = s3.put("/b-1/k", "x").header(name, value).send().await;
        put.refused(501, "NotImplemented");
    }
    s3.get("/b-1/k").send().await.refused(404, "NoSuchKey");
}
