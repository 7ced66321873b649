//! Secrets that stand in files of their own, as Docker and Kubernetes hand them over.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use zeroize::Zeroizing;

/// The secret in a file's first line. `setting` is the one that named the file, for the message.
pub fn read_secret(setting: &str, path: &Path) -> Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.with_context(|| {
        format!(
            "{setting}: {} cannot be read by this account",
            path.display()
        )
    })?;
    let secret = text.lines().next().unwrap_or_default().trim();
    ensure!(!secret.is_empty(), "{setting}: {} is empty", path.display());
    Ok(Zeroizing::new(secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line_and_a_missing_one_is_told_with_its_setting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let error = format!(
            "{:#}",
            read_secret("database.password_file", &path).unwrap_err()
        );
        assert!(error.contains("database.password_file: "), "{error}");
        std::fs::write(&path, "\nhunter2\n").unwrap();
        let error = format!(
            "{:#}",
            read_secret("database.password_file", &path).unwrap_err()
        );
        assert!(error.ends_with("password is empty"), "{error}");
        std::fs::write(&path, " hunter2 \nsecond\n").unwrap();
        assert_eq!(
            *read_secret("database.password_file", &path).unwrap(),
            "hunter2"
        );
    }
}
