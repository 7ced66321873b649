//! `upload_targets`: what uploads in steps are to become.

use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::database::corrupt;
use model::ids::{BucketId, UploadId, UserId, VersionId};
use model::names::{ContentType, ObjectKey};
use model::objects::{
    ContentSum, Described, Envelope, NewObject, ObjectContent, ObjectMetadata, SumSlot,
    WriteCondition,
};

struct Row {
    bucket_id: Uuid,
    key: String,
    version_id: Uuid,
    content_type: String,
    metadata: Json<ObjectMetadata>,
    envelope: Option<Vec<u8>>,
    expires_at: Option<jiff_sqlx::Timestamp>,
    if_match: Option<String>,
    if_absent: bool,
}

impl TryFrom<Row> for NewObject {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let key = ObjectKey::sealed(row.key.clone());
        let content_type = ContentType::try_from(row.content_type.clone());
        let version = VersionId::from_uuid(row.version_id);
        let condition = match (row.if_match, row.if_absent) {
            (Some(etag), _) => WriteCondition::Etag(etag),
            (None, true) => WriteCondition::Absent,
            (None, false) => WriteCondition::None,
        };
        let sum = std::sync::OnceLock::from(ContentSum::of_version(version));
        Ok(Self {
            bucket: BucketId::from_uuid(row.bucket_id),
            version,
            described: Described {
                key: key.map_err(|_| corrupt("upload_targets.key", &row.key))?,
                content_type: content_type
                    .map_err(|_| corrupt("upload_targets.content_type", &row.content_type))?,
                metadata: row.metadata.0,
                envelope: row.envelope.map(Envelope::stored),
                expires_at: row.expires_at.map(jiff_sqlx::Timestamp::to_jiff),
                condition,
            },
            content: ObjectContent::File(SumSlot::from(sum)),
        })
    }
}

pub async fn insert(
    connection: &mut PgConnection,
    upload: UploadId,
    new: &NewObject,
) -> sqlx::Result<()> {
    let described = &new.described;
    let if_match = match &described.condition {
        WriteCondition::Etag(etag) => Some(etag.as_str()),
        WriteCondition::None | WriteCondition::Absent => None,
    };
    sqlx::query!(
        "INSERT INTO upload_targets (upload_id, bucket_id, key, version_id, content_type, metadata, envelope, expires_at,
                                     if_match, if_absent)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        upload.as_uuid(),
        new.bucket.as_uuid(),
        described.key.as_str(),
        new.version.as_uuid(),
        described.content_type.as_str(),
        Json(&described.metadata) as _,
        described.envelope.as_ref().map(Envelope::as_bytes),
        described.expires_at.map(ToSqlx::to_sqlx) as Option<jiff_sqlx::Timestamp>,
        if_match,
        described.condition == WriteCondition::Absent,
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub async fn find(
    connection: &mut PgConnection,
    upload: UploadId,
) -> sqlx::Result<Option<NewObject>> {
    sqlx::query_as!(
        Row,
        r#"SELECT bucket_id, key, version_id, content_type, metadata AS "metadata: Json<ObjectMetadata>", envelope,
                  expires_at, if_match, if_absent
           FROM upload_targets WHERE upload_id = $1"#,
        upload.as_uuid()
    )
    .fetch_optional(connection)
    .await?
    .map(NewObject::try_from)
    .transpose()
}

/// Of an upload of this user's, with the name of the bucket.
pub async fn of_user(
    connection: &mut PgConnection,
    upload: UploadId,
    user: UserId,
) -> sqlx::Result<Option<(String, NewObject)>> {
    let name = sqlx::query_scalar!(
        "SELECT b.name FROM upload_targets t JOIN uploads USING (upload_id) JOIN buckets b ON b.bucket_id = t.bucket_id
         WHERE upload_id = $1 AND uploads.user_id = $2",
        upload.as_uuid(),
        user.as_uuid(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(name) = name else { return Ok(None) };
    let found = find(connection, upload).await?;
    Ok(found.map(|object| (name, object)))
}
