//! `fsn init`: a profile on this machine.
//!
//! The password is used once, to make an access key, and kept nowhere. `--local` makes a throw-away account, and buys it
//! credits with the pretended money of a local network; it never shows what another profile has.

use anyhow::{Context, Result, bail};
use api::access_keys::NewAccessKey;
use api::health::Health;
use api::paths;
use clap::Args;
use client::rest::{Endpoint, Session};
use client::{Bucket, Client, ClientConfig};
use kit::Entropy;
use rand::Rng;
use sealing::end_to_end::Root;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Global, terminal};
use crate::exit;
use crate::profile::Profile;

/// Where a network on this machine is, unless told.
const LOCAL: &str = "http://127.0.0.1:8080";
const LOCAL_PURCHASE_USD: u32 = 10;

#[derive(Debug, Args)]
pub(super) struct Init {
    /// A network on this machine, with a throw-away account: asks nothing
    #[arg(long, conflicts_with_all = ["email", "register"])]
    local: bool,
    /// Your address at the network
    #[arg(long, env = "FSN_EMAIL")]
    email: Option<String>,
    /// Make an account there first
    #[arg(long)]
    register: bool,
    /// With the 24 words of another machine, read from standard input: what is stored there opens here, too
    #[arg(long)]
    recover: bool,
    /// The first bucket's name, which is unique in the network [default: one by chance]
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
    /// Replace the profile that is there: what only its words open is lost without them
    #[arg(long)]
    force: bool,
}

impl Init {
    pub(super) async fn run(self, global: &Global) -> Result<()> {
        let path = Profile::path(global.profile.as_deref())?;
        if path.exists() && !self.force {
            return Err(exit::ended(
                exit::CONFLICT,
                format!(
                    "there is a profile at {} already; --force replaces it",
                    path.display()
                ),
            ));
        }
        let entropy = Entropy::system();
        let urls = self.urls(global)?;
        let first = urls.first().context("an address is needed: --url")?;
        let endpoint = Endpoint::new(first.trim_end_matches('/'))?;
        let root = self.root(&entropy)?;
        let (session, email) = match self.local {
            true => local_account(&endpoint, &entropy).await?,
            false => self.sign_in(&endpoint).await?,
        };
        let key = session.create_access_key(&key_of_this_machine()).await;
        let key = key.context("cannot make an access key")?;
        let secret = key.secret_access_key.clone().unwrap_or_default();
        let mut profile = Profile::new(urls, (key.access_key_id, secret), &root, Some(email));
        profile.write(&path)?;
        // Before anything else can fail: what the profile stores from now on only these words open elsewhere.
        if !self.recover {
            show_words(&root);
        }

        let bucket = self.first_bucket(&profile, &entropy).await?;
        profile.note(&bucket);
        profile.write(&path)?;

        let line = format!(
            "{} is there; try: fsn put FILE {}/",
            bucket.name(),
            bucket.name()
        );
        let value = json!({"profile": path, "bucket": bucket.name()});
        global.show().result(&line, &value)
    }

    async fn first_bucket(&self, profile: &Profile, entropy: &Entropy) -> Result<Bucket> {
        let mut config = ClientConfig::new("", profile.credentials());
        config.urls = profile.urls.clone();
        config.root = Some(profile.root()?);
        let name = self
            .bucket
            .clone()
            .unwrap_or_else(|| by_chance("files", entropy));
        let bucket = Client::new(config)?.make_bucket(&name, true).await;
        bucket.with_context(|| {
            format!("the profile is made; `fsn mb NAME` makes a bucket, which {name} cannot be")
        })
    }

    fn urls(&self, global: &Global) -> Result<Vec<String>> {
        match (global.url.is_empty(), self.local) {
            (false, _) => Ok(global.url.clone()),
            (true, true) => Ok(vec![LOCAL.to_owned()]),
            (true, false) => {
                let url = terminal::ask("Address of the coordinator", "name it with --url")?;
                Ok(vec![url])
            }
        }
    }

    fn root(&self, entropy: &Entropy) -> Result<Root> {
        if !self.recover {
            return Ok(Root::generate(&mut entropy.rng()));
        }
        if terminal::is_there() {
            eprintln!("The 24 words, in one line:");
        }
        let mut words = Zeroizing::new(String::new());
        std::io::stdin()
            .read_line(&mut words)
            .context("no words were read")?;
        Root::from_phrase(&words).map_err(|error| exit::ended(exit::USAGE, error.to_string()))
    }

    async fn sign_in(&self, endpoint: &Endpoint) -> Result<(Session, String)> {
        let email = match &self.email {
            Some(email) => email.clone(),
            None => terminal::ask("Your address", "name it with --email")?,
        };
        let password = terminal::password("Password")?;
        if self.register {
            endpoint.register(&email, &password).await?;
        }
        Ok((endpoint.login(&email, &password).await?, email))
    }
}

/// Of a network whose money is pretended, and of no other.
async fn local_account(endpoint: &Endpoint, entropy: &Entropy) -> Result<(Session, String)> {
    let health: Health = endpoint.get(paths::HEALTH).await.with_context(|| {
        format!(
            "there is no network at {}: `scripts/local-cluster up` starts one, and FSN_URL says where another is",
            endpoint.base_url()
        )
    })?;
    if health.payments.as_deref() != Some("mock") {
        bail!(
            "the network at {} takes real money: sign in with `fsn init --url {0}`",
            endpoint.base_url()
        );
    }
    let email = format!("{}@example.com", by_chance("fsn", entropy));
    let password = Zeroizing::new(by_chance("password", entropy) + &by_chance("", entropy));
    endpoint.register(&email, &password).await?;
    let session = endpoint.login(&email, &password).await?;
    session.purchase(LOCAL_PURCHASE_USD).await?;
    Ok((session, email))
}

fn by_chance(begin: &str, entropy: &Entropy) -> String {
    let mut bytes = [0; 6];
    entropy.rng().fill_bytes(&mut bytes);
    format!("{begin}-{}", hex::encode(bytes))
}

fn key_of_this_machine() -> NewAccessKey {
    let scopes = ["read", "write", "list", "delete", "account"];
    NewAccessKey {
        name: "fsn".to_owned(),
        scopes: scopes.map(str::to_owned).into(),
        bucket: None,
        prefix: None,
        expires_at: None,
        allowed_addresses: Vec::new(),
        s3: false,
        bytes_per_day: None,
        credits_per_day: None,
    }
}

/// On standard error, whatever the output is to be: nobody can ask for them again.
fn show_words(root: &Root) {
    let phrase = root.phrase();
    let words: Vec<&str> = phrase.split(' ').collect();
    eprintln!(
        "Write these 24 words down and keep them: without them and without this machine nobody opens what you store."
    );
    for (row, words) in words.chunks(6).enumerate() {
        let numbered = words.iter().enumerate();
        let numbered =
            numbered.map(|(column, word)| format!("{:2} {word:10}", row * 6 + column + 1));
        eprintln!("{}", numbered.collect::<Vec<_>>().join(" "));
    }
}
