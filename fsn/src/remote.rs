//! Names of what is stored: `bucket/key`, as they are typed.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use clap::builder::{TypedValueParser, ValueParserFactory};
use clap::error::ErrorKind;

/// A bucket, and a key in it, which is empty where the bucket itself is meant and ends with `/` where a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    pub bucket: String,
    pub key: String,
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err("a link is not BUCKET/KEY: open it in a browser".to_owned());
        }
        let (bucket, key) = text.split_once('/').unwrap_or((text, ""));
        match bucket.is_empty() {
            true => Err("this is not BUCKET/KEY".to_owned()),
            false => Ok(Self {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
            }),
        }
    }
}

/// Takes a name from the command line. What is no name is not said again, as clap would: a link has its key in it, and
/// what is printed is kept in logs.
#[derive(Debug, Clone)]
pub(crate) struct RemoteParser;

impl TypedValueParser for RemoteParser {
    type Value = Remote;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Remote, clap::Error> {
        let text = value.to_str().ok_or_else(|| "it is no UTF-8".to_owned());
        text.and_then(str::parse::<Remote>).map_err(|why: String| {
            let arg = arg.map_or_else(|| "a name".to_owned(), ToString::to_string);
            let said = format!("{arg}: {why}\n");
            clap::Error::raw(ErrorKind::ValueValidation, said).with_cmd(command)
        })
    }
}

impl ValueParserFactory for Remote {
    type Parser = RemoteParser;

    fn value_parser() -> RemoteParser {
        RemoteParser
    }
}

impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.bucket, self.key)
    }
}

impl Remote {
    pub(crate) fn is_directory(&self) -> bool {
        self.key.is_empty() || self.key.ends_with('/')
    }

    /// As a directory, whether it was typed with a `/` or not.
    pub(crate) fn directory(&self) -> String {
        match self.is_directory() {
            true => self.key.clone(),
            false => format!("{}/", self.key),
        }
    }

    /// The last part of its name.
    pub(crate) fn file_name(&self) -> &str {
        let key = self.key.trim_end_matches('/');
        key.rsplit('/').next().unwrap_or(key)
    }

    /// Where a file of this name goes that is stored here.
    pub(crate) fn receiving(&self, file_name: &str) -> String {
        match self.is_directory() {
            true => format!("{}{file_name}", self.key),
            false => self.key.clone(),
        }
    }
}

/// A path below a directory, for a name that somebody else may have chosen: nothing leads out of the directory.
pub(crate) fn below(directory: &Path, name: &str) -> Option<PathBuf> {
    let relative = Path::new(name);
    let stays = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let is_file = !name.is_empty() && !name.ends_with('/');
    (stays && is_file).then(|| directory.join(relative))
}

/// The key of a path below a directory; `None`: it is no UTF-8.
pub(crate) fn key_of(relative: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = relative.iter().map(OsStr::to_str).collect();
    Some(parts?.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_at_their_first_slash() {
        let remote = |text: &str| text.parse::<Remote>().unwrap();
        assert_eq!(remote("b/x/y").key, "x/y");
        assert_eq!(
            (remote("b").key.as_str(), remote("b/").key.as_str()),
            ("", "")
        );
        assert!(remote("b").is_directory() && remote("b/x/").is_directory());
        assert_eq!(remote("b/x/").receiving("f"), "x/f");
        assert_eq!(remote("b/x").receiving("f"), "x");
        assert_eq!(remote("b/x/y").file_name(), "y");
        assert!("".parse::<Remote>().is_err() && "/x".parse::<Remote>().is_err());
    }

    #[test]
    fn a_link_is_refused_and_its_key_is_not_said_again() {
        let arg = clap::Arg::new("name").value_parser(clap::value_parser!(Remote));
        let command = clap::Command::new("fsn").arg(arg);
        let given = |text: &str| command.clone().try_get_matches_from(["fsn", text]);
        assert!(given("b/x").is_ok());
        let refused = given("https://storage.example.com/s/1#the-key").unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        let said = refused.to_string();
        assert!(said.contains("link") && !said.contains("the-key"), "{said}");
    }

    #[test]
    fn no_name_leads_out_of_the_directory() {
        let dir = Path::new("/d");
        assert_eq!(below(dir, "a/b"), Some("/d/a/b".into()));
        for name in ["../a", "a/../../b", "/etc/passwd", "..", "", "a/"] {
            assert_eq!(below(dir, name), None, "{name}");
        }
    }
}
