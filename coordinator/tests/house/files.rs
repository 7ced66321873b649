//! Files are of a size that one reads at a sitting, and lie where one looks for them.

use std::fs;

use crate::source::{root, rust_files};

const LONGEST: usize = 600;

#[test]
fn no_file_is_longer_than_600_lines() {
    let long: Vec<String> = sources()
        .filter_map(|file| {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            (lines > LONGEST).then(|| format!("{}: {lines} lines", file.display()))
        })
        .collect();
    assert!(
        long.is_empty(),
        "is each of these one thing?\n{}",
        long.join("\n")
    );
}

/// `name/mod.rs`, never `name.rs` beside a folder `name`.
#[test]
fn a_module_with_children_is_a_folder_with_a_front() {
    let beside: Vec<String> = sources()
        .filter(|file| file.with_extension("").is_dir())
        .map(|file| file.display().to_string())
        .collect();
    assert!(
        beside.is_empty(),
        "move to name/mod.rs:\n{}",
        beside.join("\n")
    );
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<String> = sources()
        .filter(|file| !file.ends_with("main.rs"))
        .filter(|file| {
            let text = fs::read_to_string(file).unwrap();
            !text.starts_with("//!")
        })
        .map(|file| file.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no header:\n{}", silent.join("\n"));
}

fn sources() -> impl Iterator<Item = std::path::PathBuf> {
    let members = fs::read_dir(root()).unwrap();
    let members = members.map(|entry| entry.unwrap().path());
    members
        .filter(|member| member.join("Cargo.toml").is_file())
        .flat_map(|member| {
            let dirs = ["src", "tests"].map(|dir| rust_files(&member.join(dir)));
            dirs.into_iter().flatten()
        })
}
