//! Pages of the documentation that follow from the programs: what stands between two marks of a page is written by a
//! test, and holds as long as the test passes. So nobody has to remember to keep them true, and readers need no program.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Set to anything, the parts are written in place of being compared.
const UPDATE: &str = "FSN_UPDATE_DOCS";

/// For tests: holds `text` against what stands in the page between `<!-- begin NAME -->` and `<!-- end NAME -->`.
/// An error where they differ; it says how to write the page anew.
pub fn holds(page: &Path, name: &str, text: &str) -> Result<()> {
    let may_write = std::env::var_os(UPDATE).is_some();
    holds_or_is_written(page, name, text, may_write)
}

fn holds_or_is_written(page: &Path, name: &str, text: &str, may_write: bool) -> Result<()> {
    let shown = page.display();
    let begin = format!("<!-- begin {name} -->");
    let end = format!("<!-- end {name} -->");
    let whole = fs::read_to_string(page).with_context(|| format!("cannot read {shown}"))?;
    let part = whole.split_once(&begin).and_then(|(before, rest)| {
        let (part, after) = rest.split_once(&end)?;
        Some((before, part, after))
    });
    let Some((before, part, after)) = part else {
        bail!("{shown} has no part between `{begin}` and `{end}`");
    };
    let text = format!("\n{}\n", text.trim_end());
    if part == text {
        return Ok(());
    }
    if may_write {
        let whole = format!("{before}{begin}{text}{end}{after}");
        return fs::write(page, whole).with_context(|| format!("cannot write {shown}"));
    }
    let mut lines = part.lines().zip(text.lines());
    let line = lines.find(|(is, should)| is != should);
    bail!(
        "the part `{name}` of {shown} does not follow from the program any more: run this test with {UPDATE}=1. \
         The first line that differs: {line:?}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_until_the_program_says_something_else() {
        let dir = tempfile::tempdir().unwrap();
        let page = dir.path().join("page.md");
        fs::write(
            &page,
            "# Page\n<!-- begin a -->\none\n<!-- end a -->\nrest\n",
        )
        .unwrap();
        let holds = |name: &str, text: &str| holds_or_is_written(&page, name, text, false).is_ok();
        assert!(holds("a", "one\n"));
        assert!(!holds("a", "two"));
        assert!(!holds("b", "one"));
        holds_or_is_written(&page, "a", "two\n", true).unwrap();
        let written = "# Page\n<!-- begin a -->\ntwo\n<!-- end a -->\nrest\n";
        assert_eq!(fs::read_to_string(&page).unwrap(), written);
        assert!(holds("a", "two"));
    }
}
