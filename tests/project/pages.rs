//! The pages of the project, their fenced blocks, and the tools that their readers have.

use crate::support::program::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The directory of the project.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A page of the project.
#[track_caller]
pub(crate) fn page(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A fenced block of a page.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The line that its text begins at.
    pub(crate) line: usize,
    /// What stands behind the fence: `sh`, `text`, …
    pub(crate) kind: String,
    pub(crate) text: String,
}

/// The fenced blocks of a page, in its order.
#[track_caller]
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else { continue };
        let mut text = String::new();
        loop {
            match lines.next() {
                Some(("```", _)) => break,
                Some((line, _)) => text.extend([line, "\n"]),
                None => panic!("the block at line {number} does not end"),
            }
        }
        blocks.push(Block { line: number + 1, kind: kind.to_owned(), text });
    }
    blocks
}

/// A page without its fenced blocks, line for line.
pub(crate) fn prose(page: &str) -> String {
    let mut fenced = false;
    let mut prose = String::new();
    for line in page.lines() {
        let fence = line.starts_with("```");
        if !fenced && !fence {
            prose.push_str(line);
        }
        prose.push('\n');
        fenced ^= fence;
    }
    prose
}

/// The program of this name that a shell would start; nothing where there is none.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").expect("a PATH");
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.exists())
}

/// Whether python3 has the module.
pub(crate) fn python_has(module: &str) -> bool {
    tool("python3").is_some() && {
        let mut python = Command::new("python3");
        python.args(["-c", &format!("import {module}")]);
        run(python).code == Some(0)
    }
}
