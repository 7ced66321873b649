//! The program `fsn` against real processes, as people and scripts call it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use local_cluster::Programs;
use local_cluster::client::Endpoint;
use local_cluster::proxy::TcpProxy;
use local_cluster::wait::wait_for;
use serde_json::{Value, json};
use support::{CHUNK, random_bytes, shared};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Somebody at a machine of his own.
struct Person {
    home: TempDir,
    url: String,
}

impl Person {
    fn new(url: String) -> Self {
        let home = tempfile::tempdir().unwrap();
        Self { home, url }
    }

    /// With a profile, and a bucket of this name.
    async fn with_bucket(bucket: &str) -> Self {
        let person = Self::new(shared().await.base_url());
        person.succeed(&["init", "--local", "--bucket", bucket]);
        person
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(Programs::beside_this_one().unwrap().fsn);
        command
            .args(args)
            .env("FSN_URL", &self.url)
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env_remove("FSN_PROFILE")
            .env_remove("FSN_PASSWORD")
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("fsn is built")
    }

    #[track_caller]
    fn succeed(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn ends_with(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        said
    }

    fn profile(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("config/fsn/profile.json")).unwrap()).unwrap()
    }

    fn write(&self, name: &str, text: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn bucket() -> String {
    format!("bucket-{}", hex::encode(random_bytes(6)))
}

#[tokio::test]
async fn a_newcomer_stores_finds_and_fetches_his_files() {
    let b = bucket();
    let person = Person::with_bucket(&b).await;
    let text = random_bytes(9 * CHUNK + 77);
    person.write("film.mkv", &text);
    person.write("photos/2026/beach.jpg", b"sand");
    person.write("photos/list", b"one");

    person.succeed(&["put", "film.mkv", &format!("{b}/")]);
    person.succeed(&["put", "-r", "photos", &format!("{b}/")]);
    let listed = person.succeed(&["ls", &b]);
    assert_eq!(listed, "film.mkv\nphotos/\n");
    let listed = person.succeed(&["ls", "-R", &format!("{b}/photos")]);
    assert_eq!(listed, "photos/2026/beach.jpg\nphotos/list\n");
    assert!(person.succeed(&["ls"]).contains(&b));

    person.succeed(&["get", &format!("{b}/film.mkv"), "back.mkv"]);
    assert!(fs::read(person.path("back.mkv")).unwrap() == text);
    let modified = |name: &str| fs::metadata(person.path(name)).unwrap().modified().unwrap();
    let apart = modified("film.mkv")
        .duration_since(modified("back.mkv"))
        .unwrap();
    assert!(apart < Duration::from_millis(2), "{apart:?}");
    person.succeed(&["get", "-r", &b, "all"]);
    assert_eq!(
        fs::read(person.path("all/photos/2026/beach.jpg")).unwrap(),
        b"sand"
    );
    assert_eq!(person.succeed(&["cat", &format!("{b}/photos/list")]), "one");
    let range = person.succeed(&[
        "cat",
        "--range",
        "1-3",
        &format!("{b}/photos/2026/beach.jpg"),
    ]);
    assert_eq!(range, "an");

    person.succeed(&[
        "mv",
        &format!("{b}/photos/list"),
        &format!("{b}/photos/list.txt"),
    ]);
    person.succeed(&[
        "cp",
        &format!("{b}/photos/list.txt"),
        &format!("{b}/copies/"),
    ]);
    assert_eq!(
        person.succeed(&["cat", &format!("{b}/copies/list.txt")]),
        "one"
    );
    let known = person.succeed(&["--output", "json", "stat", &format!("{b}/film.mkv")]);
    let known: Value = serde_json::from_str(&known).unwrap();
    assert_eq!(known["size_bytes"], text.len());
    let used: Value =
        serde_json::from_str(&person.succeed(&["du", "--output", "json", &b])).unwrap();
    assert_eq!(
        (&used["files"], &used["size_bytes"]),
        (&4.into(), &(text.len() + 10).into())
    );

    assert!(person.succeed(&["account", "show"]).contains("credits"));
    assert!(person.succeed(&["credits"]).contains("purchase"));
    assert!(person.succeed(&["doctor"]).contains("ok   sign-in"));
    assert!(person.succeed(&["completions", "bash"]).contains("fsn"));
    assert!(person.succeed(&["man"]).contains("fsn"));

    let said = person.succeed(&["verify", &format!("{b}/film.mkv"), "--save", "evidence"]);
    assert!(
        said.contains("30 copies of all 10 chunks are proven"),
        "{said}"
    );
    let said = person.succeed(&["verify", "--offline", "evidence"]);
    assert!(
        said.contains("30 copies of all 10 chunks are proven"),
        "{said}"
    );
    // Of receipts alone nothing is proven, which is no alarm.
    let kept = fs::read_to_string(person.path("evidence")).unwrap();
    let receipts = kept.lines().next().unwrap();
    person.write("receipts", receipts.as_bytes());
    let said = person.succeed(&["verify", "--offline", "receipts"]);
    assert!(
        said.contains("proofs of 0 of 10 chunks were handed in"),
        "{said}"
    );
    person.write(
        "forged",
        kept.replace("\"signature\":\"", "\"signature\":\"0")
            .as_bytes(),
    );
    person.ends_with(8, &["verify", "--offline", "forged"]);

    person.succeed(&["rm", "-r", &b]);
    person.succeed(&["rb", &b]);
}

#[tokio::test]
async fn scripts_learn_by_the_code_what_went_wrong() {
    let b = bucket();
    let person = Person::with_bucket(&b).await;
    person.write("file", b"text");
    person.ends_with(4, &["get", &format!("{b}/nothing"), "x"]);
    person.ends_with(4, &["ls", "no-bucket-is-called-so"]);
    person.ends_with(2, &["put", "file"]);
    person.ends_with(2, &["put", ".", &format!("{b}/")]);
    person.succeed(&["put", "file", &format!("{b}/file")]);
    person.ends_with(5, &["put", "--if-absent", "file", &format!("{b}/file")]);
    person.ends_with(5, &["init", "--local"]);
    person.ends_with(5, &["rb", &b]);
    let told = person.ends_with(4, &["--output", "json", "stat", &format!("{b}/nothing")]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["exit_code"], 4);

    // Somebody else, on another machine.
    let other = Person::new(person.url.clone());
    other.ends_with(3, &["ls"]);
    other.ends_with(2, &["init"]);
    other.succeed(&["init", "--local"]);
    other.ends_with(3, &["ls", &b]);
    let away = Person::new("http://127.0.0.1:9".to_owned());
    away.ends_with(6, &["init", "--local"]);

    // The same account with other words: nothing opens.
    let profile = "config/fsn/profile.json";
    let mut stored: Value =
        serde_json::from_slice(&fs::read(person.path(profile)).unwrap()).unwrap();
    stored["root"] = "00".repeat(32).into();
    fs::write(person.path(profile), stored.to_string()).unwrap();
    person.ends_with(8, &["ls", &b]);
    person.ends_with(4, &["cat", &format!("{b}/file")]);
}

fn words_in(said: &str) -> Vec<&str> {
    said.lines()
        .filter(|line| {
            line.trim_start()
                .starts_with(|first: char| first.is_ascii_digit())
        })
        .flat_map(str::split_whitespace)
        .filter(|word| word.chars().all(char::is_alphabetic))
        .collect()
}

#[tokio::test]
async fn the_words_open_everything_on_another_machine() {
    let b = bucket();
    let person = Person::new(shared().await.base_url());
    let made = person.run(&["init", "--local", "--bucket", &b]);
    let said = String::from_utf8(made.stderr).unwrap();
    let words = words_in(&said);
    assert_eq!(words.len(), 24, "{said}");
    let mut pipe = person.command(&["put", "-", &format!("{b}/words")]);
    let mut pipe = pipe.stdin(Stdio::piped()).spawn().unwrap();
    pipe.stdin
        .take()
        .unwrap()
        .write_all(b"what was said")
        .unwrap();
    assert!(pipe.wait().unwrap().success());

    // The new machine makes a profile of its own, and is given the other one's access key.
    let other = Person::new(person.url.clone());
    let mut init = other.command(&["init", "--local", "--recover"]);
    let mut init = init.stdin(Stdio::piped()).spawn().unwrap();
    init.stdin
        .take()
        .unwrap()
        .write_all(words.join(" ").as_bytes())
        .unwrap();
    assert!(init.wait().unwrap().success());
    let (old, new) = (person.profile(), other.profile());
    assert_eq!(old["root"], new["root"]);
    fs::copy(
        person.path("config/fsn/profile.json"),
        other.path("config/fsn/profile.json"),
    )
    .unwrap();
    assert_eq!(
        other.succeed(&["cat", &format!("{b}/words")]),
        "what was said"
    );

    // Whatever fails once there is a profile, the words were shown; to programs, too.
    let unlucky = Person::new(person.url.clone());
    let made = unlucky.run(&["--output", "json", "init", "--local", "--bucket", "NO"]);
    let said = String::from_utf8(made.stderr).unwrap();
    assert!(!made.status.success() && unlucky.profile().is_object());
    assert_eq!(words_in(&said).len(), 24, "{said}");

    // A word that is wrong is told from one that is right.
    let wrong = Person::new(person.url.clone());
    let mut init = wrong.command(&["init", "--local", "--recover"]);
    let mut init = init
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    init.stdin
        .take()
        .unwrap()
        .write_all(words[1..].join(" ").as_bytes())
        .unwrap();
    assert_eq!(init.wait().unwrap().code(), Some(2));
}

fn put(person: &Person, args: &[&str], to: &str) -> Child {
    let args = [&["put", "big", to], args].concat();
    person
        .command(&args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_killed_goes_on_where_it_was() {
    const SIZE: usize = 96 * CHUNK;
    /// Pieces in flight at the moment that it was killed, and what is said besides.
    const WINDOW: u64 = 4 * 2 * 1024 * 1024 + 512 * 1024;

    let b = bucket();
    let cluster = shared().await;
    let addr: SocketAddr = cluster
        .base_url()
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();
    let proxy = TcpProxy::start(addr).await.unwrap();
    let person = Person::new(format!("http://{}", proxy.addr()));
    person.succeed(&["init", "--local", "--bucket", &b]);
    let text = random_bytes(SIZE);
    person.write("big", &text);
    let to = format!("{b}/big");

    let before = proxy.bytes();
    let mut killed = put(&person, &["-P", "4", "--limit-up", "8MiB"], &to);
    let half = || async { (proxy.bytes() - before > SIZE as u64 / 2).then_some(()) };
    wait_for("half of it to be sent", Duration::from_secs(60), half)
        .await
        .unwrap();
    killed.kill().unwrap(); // SIGKILL
    killed.wait().unwrap();
    person.ends_with(4, &["stat", &to]);
    let notes = fs::read_dir(person.path("state/fsn/transfers")).unwrap();
    assert!(
        notes
            .flatten()
            .any(|note| note.path().extension().is_some_and(|end| end == "json"))
    );

    let sent_before = proxy.bytes() - before;
    let mut again = put(&person, &["-P", "4"], &to);
    let done = tokio::task::spawn_blocking(move || again.wait()).await;
    assert!(done.unwrap().unwrap().success());
    let sent = proxy.bytes() - before;
    assert!(
        sent < SIZE as u64 + WINDOW,
        "{sent_before} and {} of {SIZE}",
        sent - sent_before
    );
    assert_eq!(
        fs::read_dir(person.path("state/fsn/transfers"))
            .unwrap()
            .count(),
        0
    );
    let back = person.path("back");
    person.succeed(&["get", &to, back.to_str().unwrap()]);
    assert!(read(&back) == text);

    // A source that has changed since is stored anew.
    let mut killed = put(&person, &["--limit-up", "8MiB"], &to);
    let begun = proxy.bytes();
    let some = || async { (proxy.bytes() - begun > 3 * 1024 * 1024).then_some(()) };
    wait_for("some of it to be sent", Duration::from_secs(60), some)
        .await
        .unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let other = random_bytes(SIZE);
    person.write("big", &other);
    let mut again = put(&person, &[], &to);
    let done = tokio::task::spawn_blocking(move || again.wait()).await;
    assert!(done.unwrap().unwrap().success());
    person.succeed(&["get", &to, back.to_str().unwrap()]);
    assert!(read(&back) == other);
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

/// What a coordinator that lies makes of an answer, by the path that was asked.
type Lie = fn(&str, &mut Value);

/// A coordinator that answers what the real one does, but for its lies.
async fn liar(real: &str, lie: Lie) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let real = Endpoint::new(real).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(pass_on(stream, real.clone(), lie));
        }
    });
    url
}

/// One request, and nothing more on its connection.
async fn pass_on(stream: TcpStream, real: Endpoint, lie: Lie) {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await.unwrap();
    let words: Vec<&str> = first.split(' ').collect();
    let [method, path, _] = words[..] else { return };
    let (mut length, mut shown) = (0, String::new());
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => shown = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let request = real
        .request(method.parse().unwrap(), path)
        .header("authorization", shown)
        .header("content-type", "application/json")
        .body(body);
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let mut told: Value = answer.json().await.unwrap_or_default();
    lie(path, &mut told);
    let told = told.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        told.len()
    );
    stream.write_all((head + &told).as_bytes()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_coordinator_can_say_that_a_sealed_bucket_is_plain() {
    let b = bucket();
    let mut person = Person::with_bucket(&b).await;
    let real = person.url.clone();
    let (to, plain) = (format!("{b}/file"), bucket());
    let there = format!("{plain}/file");
    person.write("file", b"text");
    person.succeed(&["put", "file", &to]);
    assert!(person.profile()["sealed"][&b].is_string());

    person.url = liar(&real, |_, told| {
        if told["names"] == "sealed" {
            told["names"] = "plain".into();
        }
    })
    .await;
    person.ends_with(8, &["put", "file", &to]);
    person.ends_with(8, &["cat", &to]);
    // Another machine does not know what this one has made.
    let mut profile = person.profile();
    profile["sealed"] = json!({});
    fs::write(person.path("config/fsn/profile.json"), profile.to_string()).unwrap();
    person.ends_with(8, &["put", "file", &to]);

    person.url = real;
    person.succeed(&["mb", &b]);
    assert!(person.profile()["sealed"][&b].is_string());
    person.succeed(&["mb", "--plain", &plain]);
    person.ends_with(8, &["put", "file", &there]);
    person.succeed(&["put", "--plain", "file", &there]);
    person.ends_with(2, &["put", "--plain", "file", &to]);
    person.succeed(&["rm", &to]);
    person.succeed(&["rb", &b]);
    assert!(person.profile()["sealed"][&b].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_coordinator_leaves_out_is_not_proven() {
    let b = bucket();
    let mut person = Person::with_bucket(&b).await;
    let real = person.url.clone();
    let to = format!("{b}/file");
    person.write("file", b"text");
    person.succeed(&["put", "file", &to]);
    let said = person.succeed(&["verify", &to]);
    assert!(said.contains("of all 1 chunks are proven"), "{said}");

    person.url = liar(&real, |path, told| {
        if path.contains("/entry?") {
            told["file_ids"] = json!([]);
        }
    })
    .await;
    person.ends_with(8, &["verify", &to]);
    person.url = liar(&real, |path, told| {
        if path.ends_with("/proof") {
            told["items"] = json!([]);
        }
    })
    .await;
    person.ends_with(6, &["verify", &to]);
    person.url = liar(&real, |path, told| {
        if path.ends_with("/proof") {
            told["items"].as_array_mut().unwrap().truncate(1);
        }
    })
    .await;
    person.ends_with(6, &["verify", &to]);
    person.url = liar(&real, |path, told| {
        if path.contains("/receipts") {
            for item in told["items"].as_array_mut().unwrap() {
                item["statement"] = Value::Null;
            }
        }
    })
    .await;
    person.ends_with(8, &["verify", &to]);
}
