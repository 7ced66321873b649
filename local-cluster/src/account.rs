//! The account that Postgres runs under: it refuses to run as root.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::files;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// `None` when the caller is not root and Postgres can simply run as the caller.
    pub(crate) fn for_postgres() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let accounts = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let found = ["postgres", "nobody"]
            .iter()
            .find_map(|name| Self::find(&accounts, name));
        match found {
            Some(account) => Ok(Some(account)),
            None => bail!(
                "Postgres refuses to run as root and there is neither a `postgres` nor a `nobody` \
                 account; create one (`useradd --system postgres`) or run this as another user"
            ),
        }
    }

    /// Looks a name up in the text of `/etc/passwd`.
    fn find(accounts: &str, name: &str) -> Option<Self> {
        let line = accounts
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let mut fields = line.split(':').skip(1);
        let account = Self {
            uid: fields.next()?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
        };
        (account.uid != 0).then_some(account)
    }

    /// Whether this account can get to a directory, judged by going there.
    pub(crate) fn can_reach(self, dir: &Path) -> bool {
        Command::new("/bin/true")
            .current_dir(dir)
            .uid(self.uid)
            .gid(self.gid)
            .stdin(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    pub(crate) fn own(self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("cannot give {} to Postgres' account", path.display()))
    }
}

/// Where the database of the cluster in `dir` lives: beside the rest, unless Postgres' account cannot
/// get there (root's home is closed to others); then under `/var/lib`, named after `dir`.
pub(crate) fn home_for_postgres(dir: &Path, account: Option<Account>) -> Result<PathBuf> {
    let beside = dir.join("postgres");
    let Some(account) = account else {
        return Ok(beside);
    };
    if account.can_reach(dir) {
        return Ok(beside);
    }
    let name = blake3::hash(dir.as_os_str().as_encoded_bytes()).to_hex();
    let shared = Path::new("/var/lib/federated-storage/local-cluster");
    files::create_dir(shared)?;
    if !account.can_reach(shared) {
        bail!(
            "Postgres' account can reach neither {} nor {}; choose another directory with --dir",
            dir.display(),
            shared.display()
        );
    }
    Ok(shared.join(format!("postgres-{}", &name[..16])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_their_whole_name_and_never_root() {
        let text = "root:x:0:0::/:/bin/sh\npostgres2:x:9:9::/:/bin/sh\npostgres:x:101:104:,,,:/var/lib:/bin/bash\nnobody:x:0:0::/:/bin/sh\n";
        assert_eq!(
            Account::find(text, "postgres"),
            Some(Account { uid: 101, gid: 104 })
        );
        assert_eq!(Account::find(text, "nobody"), None);
        assert_eq!(Account::find(text, "post"), None);
    }
}
