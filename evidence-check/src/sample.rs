//! `--sample`: copies are drawn by chance among those that the receipts promise, fetched with what opens them, and opened.
//!
//! The receipts, and what the coordinator has signed with them, are there before anything is drawn: it cannot know which
//! copies it will have to show. Whole chunks are drawn, all copies of each: of a file no more than some chunks are opened
//! in a day. Of a coded chunk as many pieces are drawn as give it back, and others where some are not to be had.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use api::problem::{Problem, ProblemKind};
use clap::Args;
use kit::Entropy;
use proto::FileId;
use proto::evidence::{Checker, Sealed};
use rand::seq::SliceRandom;
use reqwest::{Response, StatusCode, Url, header};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::documents::MAX_ANSWER_BYTES;

/// Longer than a node may take to give a chunk.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Waits for a coordinator that has had enough requests for the moment.
const MOST_WAITS: u32 = 30;
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Where copies are asked for.
#[derive(Debug, Args)]
pub(super) struct Sample {
    /// Have this many copies opened, drawn by chance among those that the receipts promise: their bytes have to be those
    /// of your file. It asks the coordinator at --url; everything else is checked offline.
    #[arg(long = "sample", value_name = "N", requires = "url")]
    pub count: Option<usize>,

    /// The coordinator, like https://storage.example.com.
    #[arg(long, env = "FSN_URL")]
    url: Option<Url>,

    /// A file with your access token in its first line; or put the token into FSN_TOKEN.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Append what was opened to this file, for checking it again offline.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
}

/// What was drawn.
#[derive(Debug, Default)]
pub(super) struct Drawn {
    pub shown: Vec<Sealed>,
    /// Copies that were not shown, and why.
    pub not_shown: Vec<String>,
    /// Why no more of the file are opened now.
    pub enough: Option<String>,
}

enum Answer {
    Shown(Box<Sealed>),
    NotShown(String),
    Enough(String),
}

impl Sample {
    /// Asks for the copies. Whatever answers is still to be checked.
    pub(super) async fn draw(&self, checker: &Checker, count: usize) -> anyhow::Result<Drawn> {
        let file_id = checker.file_id().context(
            "no receipt says which file it is of: fetch `GET files/{id}/receipts` from a coordinator of this release",
        )?;
        let coordinator = self.coordinator()?;
        let mut chunks = BTreeMap::<u32, Vec<Uuid>>::new();
        for (index, node, _) in checker.promised() {
            chunks.entry(index).or_default().push(node);
        }
        let mut chunks: Vec<(u32, Vec<Uuid>)> = chunks.into_iter().collect();
        let mut rng = Entropy::system().rng();
        chunks.shuffle(&mut rng);
        let (mut drawn, mut left) = (Drawn::default(), count);
        for (index, mut nodes) in chunks {
            if left == 0 {
                break;
            }
            nodes.shuffle(&mut rng);
            let needed = checker.needed(index);
            let is_coded = needed > 0;
            let goal = match is_coded {
                true => needed,
                false => left.min(nodes.len()),
            };
            left = left.saturating_sub(goal);
            let (mut done, mut not_shown) = (0, Vec::new());
            for node in nodes {
                if done == goal {
                    break;
                }
                match coordinator.ask(file_id, index, node).await? {
                    Answer::Shown(sealed) => {
                        drawn.shown.push(*sealed);
                        done += 1;
                    }
                    Answer::NotShown(reason) => {
                        let line = format!("chunk {index}, node {node}: not opened: {reason}");
                        not_shown.push(line);
                        // Another piece does as well.
                        done += usize::from(!is_coded);
                    }
                    Answer::Enough(reason) => {
                        drawn.enough = Some(reason);
                        break;
                    }
                }
            }
            if !is_coded || done < goal {
                drawn.not_shown.append(&mut not_shown);
            }
        }
        Ok(drawn)
    }

    fn coordinator(&self) -> anyhow::Result<Coordinator> {
        let url = self.url.clone().context("--sample needs --url")?;
        let token = match &self.token_file {
            Some(path) => kit::config::read_secret("--token-file", path)?,
            None => {
                let token = std::env::var("FSN_TOKEN").ok();
                let token = token.filter(|token| !token.is_empty()).context(
                    "--sample needs your access token (POST /api/v1/auth/login): put it into FSN_TOKEN, \
                     or name a file with --token-file",
                )?;
                Zeroizing::new(token)
            }
        };
        let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        Ok(Coordinator { http, url, token })
    }
}

struct Coordinator {
    http: reqwest::Client,
    url: Url,
    token: Zeroizing<String>,
}

impl Coordinator {
    async fn ask(&self, file_id: FileId, index: u32, node: Uuid) -> anyhow::Result<Answer> {
        let path = api::paths::file_sealed(file_id, index, node);
        let url = self.url.join(&path)?;
        for _ in 0..MOST_WAITS {
            let request = self.http.get(url.clone()).bearer_auth(self.token.as_str());
            let response = request.send().await;
            let response = response.with_context(|| format!("{} does not answer", self.url))?;
            let (status, pause) = (response.status(), retry_after(&response));
            let body = body_of(response).await?;
            if status == StatusCode::OK {
                let sealed = serde_json::from_slice(&body);
                let sealed =
                    sealed.context("the coordinator answers something else than a copy")?;
                return Ok(Answer::Shown(Box::new(sealed)));
            }
            let problem = Problem::of_answer(status.as_u16(), &body);
            match problem.kind() {
                Some(ProblemKind::OpenedEnough) => return Ok(Answer::Enough(problem.detail)),
                Some(ProblemKind::TooManyRequests | ProblemKind::Busy) => {
                    tokio::time::sleep(pause.min(LONGEST_WAIT)).await;
                }
                Some(ProblemKind::Unreadable | ProblemKind::NotFound) => {
                    return Ok(Answer::NotShown(problem.detail));
                }
                _ => bail!("the coordinator refuses ({status}): {}", problem.detail),
            }
        }
        bail!(
            "the coordinator puts requests off again and again; try later, or with a smaller --sample"
        )
    }
}

fn retry_after(response: &Response) -> Duration {
    let seconds = response.headers().get(header::RETRY_AFTER);
    let seconds = seconds.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

async fn body_of(mut response: Response) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        ensure!(
            body.len() as u64 <= MAX_ANSWER_BYTES,
            "no answer of a coordinator is so long"
        );
    }
    Ok(body)
}
