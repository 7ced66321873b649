//! `coordinator admin file`: look at a file, whoever owns it, and take it down.

use anyhow::{Context, Result};
use clap::Subcommand;
use kit::output::{plain_table, print_json, print_table};
use kit::{Clock, Entropy};
use proto::FileId;
use serde_json::json;

use super::Output;
use crate::accounts::decisions;
use crate::accounts::tables as accounts;
use crate::database::Pool;
use crate::files::take_down::look;
use crate::objects::take_down;

/// Decisions that are shown.
const HISTORY: i64 = 50;

#[derive(Debug, Subcommand)]
pub(super) enum FileCommand {
    /// Show a file, its owner, and what was decided about it.
    Show {
        file_id: FileId,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// List the files that hold the bytes of an object, of each of its versions.
    Find {
        bucket: String,
        key: String,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Delete a file, whoever owns it, and the versions of objects that it is part of. Its key is gone at once, what was not
    /// used of its price goes back, and the reason is kept.
    TakeDown {
        file_id: FileId,
        /// Kept for 400 days, for those who look later.
        #[arg(long)]
        reason: String,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
    },
}

impl FileCommand {
    pub(super) async fn run(self, pool: &Pool) -> Result<()> {
        match self {
            Self::Show { file_id, output } => show(pool, file_id, output).await,
            Self::Find {
                bucket,
                key,
                output,
            } => find(pool, &bucket, &key, output).await,
            Self::TakeDown {
                file_id,
                reason,
                output,
            } => {
                let reason = decisions::reason(&reason).context("--reason")?;
                let (clock, entropy) = (Clock::system(), Entropy::system());
                let owner = take_down::take_down(pool, (&clock, &entropy), file_id, reason).await?;
                match output {
                    Output::Json => print_json(&json!({
                        "file_id": file_id, "user_id": owner.as_uuid(), "state": "taken_down", "reason": reason,
                    })),
                    Output::Table => {
                        println!(
                            "{file_id} of account {owner} is gone, and what was left of its price went back."
                        );
                        Ok(())
                    }
                }
            }
        }
    }
}

async fn find(pool: &Pool, bucket: &str, key: &str, output: Output) -> Result<()> {
    let found = take_down::files_of_key(pool, bucket, key).await?;
    if found.is_empty() {
        anyhow::bail!(
            "no bytes are stored under this key: look at the bucket's name and at the key's spelling"
        );
    }
    if output == Output::Json {
        let items = found.iter().map(|(id, place)| {
            json!({
                "file_id": id, "version_id": place.version_id, "is_latest": place.is_latest, "part": place.part,
            })
        });
        let items: Vec<_> = items.collect();
        return print_json(&json!({ "items": items }));
    }
    let mut table = plain_table();
    for (id, place) in found {
        let latest = if place.is_latest { "latest" } else { "" };
        table.add_row([
            id.to_string(),
            place.version_id.to_string(),
            format!("part {}", place.part),
            latest.to_owned(),
        ]);
    }
    println!("{table}");
    Ok(())
}

async fn show(pool: &Pool, id: FileId, output: Output) -> Result<()> {
    let file = look(pool, id).await?;
    let places = take_down::places(pool, id).await?;
    let mut connection = pool.acquire().await?;
    let decided = accounts::decisions::about(&mut connection, id.as_uuid(), HISTORY).await?;
    if file.is_none() && decided.is_empty() {
        anyhow::bail!("no complete file has the id {id}");
    }
    let owner = match &file {
        Some(file) => accounts::standing::one(&mut connection, file.user_id).await?,
        None => None,
    };
    let owner = owner.as_ref();
    if output == Output::Json {
        return print_json(&json!({
            "file_id": id,
            "state": if file.is_some() { "ready" } else { "gone" },
            "user_id": owner.map(|owner| owner.id.as_uuid()),
            "email": owner.map(|owner| &owner.email),
            "filename": file.as_ref().map(|file| &file.filename),
            "content_type": file.as_ref().map(|file| &file.content_type),
            "size_bytes": file.as_ref().map(|file| file.layout.size_bytes),
            "chunk_count": file.as_ref().map(|file| file.layout.chunk_count()),
            "replicas": file.as_ref().map(|file| file.scheme.pieces()),
            "sha256": file.as_ref().and_then(|file| file.sha256.map(hex::encode)),
            "created_at": file.as_ref().map(|file| file.created_at),
            "completed_at": file.as_ref().map(|file| file.completed_at),
            "paid_until": file.as_ref().map(|file| file.paid_until),
            "objects": places,
            "decisions": decided,
        }));
    }
    let mut table = plain_table();
    let mut row = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    row("file", id.to_string());
    match &file {
        None => row("state", "gone".to_owned()),
        Some(file) => {
            let owner = owner.map_or_else(String::new, |owner| owner.email.clone());
            row("owner", format!("{owner} ({})", file.user_id));
            // A name may hold what a terminal would act on.
            row("name", format!("{:?}", file.filename));
            row("type", file.content_type.clone());
            row("bytes", file.layout.size_bytes.to_string());
            row("copies", file.scheme.pieces().to_string());
            row("complete", format!("{:.0}", file.completed_at));
            row("paid until", format!("{:.0}", file.paid_until));
        }
    }
    for place in places {
        let version = place.version_id;
        row(
            "object",
            format!("{}/{:?} version {version}", place.bucket, place.key),
        );
    }
    for made in decided {
        let what = made.decision.replace('_', " ");
        row(&what, format!("{:.0}: {}", made.at, made.reason));
    }
    print_table(table);
    Ok(())
}
