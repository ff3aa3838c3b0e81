//! At stake: that the map in `docs/architecture.md` is the house. Each module of `src/` has a row there, uses only
//! floors below its own, and none that its row says it must not know. No two files of a module use each other.
//!
//! A submodule belongs to its module: the two may use each other.

use crate::pages::{page, root};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A path from a crate of this package on: `["loteria", "ledger", "writer"]`, `["server", "board"]`.
type Names = Vec<String>;

/// The files of `src/` as modules, each with the paths of this package that it names.
fn modules() -> BTreeMap<Names, BTreeSet<Names>> {
    let mut modules = BTreeMap::new();
    modules_below(&root().join("src"), &["loteria"], &mut modules);
    modules
}

fn modules_below(
    directory: &Path,
    parent: &[&str],
    modules: &mut BTreeMap<Names, BTreeSet<Names>>,
) {
    for entry in fs::read_dir(directory).expect("a directory of src/") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name in UTF-8");
        let module = match (parent, name) {
            (_, "lib" | "main" | "mod") => parent.to_vec(),
            (["loteria"], "bin") => vec!["bin"],
            _ => [parent, &[name]].concat(),
        };
        if path.is_dir() {
            modules_below(&path, &module, modules);
        } else {
            let text = fs::read_to_string(&path).expect("a file of src/");
            let module: Names = module.into_iter().map(str::to_owned).collect();
            let paths = paths_in(&text, &module);
            modules.insert(module, paths);
        }
    }
}

/// The paths of this package that the text of `module` names.
fn paths_in(text: &str, module: &[String]) -> BTreeSet<Names> {
    let code: Vec<&str> = text.lines().filter_map(|line| line.split("//").next()).collect();
    let code = code.join("\n");
    let (own_crate, parent) = (&module[..1], &module[..module.len().saturating_sub(1).max(1)]);
    let library = &["loteria".to_owned()][..];
    let mut paths = BTreeSet::new();
    for (start, from) in [("crate::", own_crate), ("loteria::", library), ("super::", parent)] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if !before.is_some_and(|letter| letter.is_alphanumeric() || "_:$".contains(letter)) {
                add_tree(&code[at + start.len()..], from, &mut paths);
            }
        }
    }
    paths
}

/// Adds the paths of a tree such as `a::{b, c::{d, e}}` below `parent`. Returns the text behind it.
fn add_tree<'t>(text: &'t str, parent: &[String], paths: &mut BTreeSet<Names>) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = add_tree(rest, parent, paths).trim_start();
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let path = [parent, &[name.to_owned()]].concat();
    match rest.strip_prefix("::") {
        Some(rest) => add_tree(rest, &path, paths),
        None => {
            paths.insert(path);
            rest
        }
    }
}

/// The rows of the map: module, floor (none for a submodule), modules that it must not know.
fn rows() -> Vec<(String, Option<u8>, Vec<String>)> {
    let page = page("docs/architecture.md");
    let (_, map) = page.split_once("\n| floor | module |").expect("the map is there");
    let rows = map.lines().skip(2).take_while(|line| line.starts_with('|'));
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    rows.map(|row| {
        let [floor, module, _, must_not_know] =
            row.trim_matches('|').split('|').collect::<Vec<_>>()[..]
        else {
            panic!("a row of the map has four cells: {row}")
        };
        let names: Vec<String> = quoted(module);
        (
            names[0].trim_end_matches('/').to_owned(),
            floor.trim().parse().ok(),
            quoted(must_not_know),
        )
    })
    .collect()
}

/// The module of the library, or `bin`, that a path is in.
fn house_module(path: &[String]) -> &str {
    if path[0] == "loteria" { path.get(1).map_or("lib", String::as_str) } else { "bin" }
}

#[test]
fn each_module_has_its_row_and_uses_only_floors_below_and_nothing_that_it_must_not_know() {
    let (rows, modules) = (rows(), modules());
    let mut wrong = BTreeSet::new();
    for (row, ..) in &rows {
        let path = ["loteria"].into_iter().chain(row.split("::")).map(str::to_owned).collect();
        if row != "bin" && !modules.contains_key::<Names>(&path) {
            wrong.insert(format!("the map has {row}, and src/ has not"));
        }
    }
    let row_of = |module: &str| rows.iter().find(|(row, ..)| row == module);
    for (file, paths) in modules.iter().filter(|(file, _)| house_module(file) != "lib") {
        let (module, name) = (house_module(file), file.join("::"));
        let Some((_, Some(floor), must_not_know)) = row_of(module) else {
            wrong.insert(format!("{module} has no floor in the map"));
            continue;
        };
        for used in paths.iter().map(|path| house_module(path)).filter(|used| *used != module) {
            match row_of(used) {
                Some((_, Some(below), _)) if below >= floor => {
                    wrong.insert(format!("{name} on floor {floor} uses {used} on floor {below}"));
                }
                Some(_) if must_not_know.iter().any(|unknown| unknown == used) => {
                    wrong.insert(format!("{name} must not know {used}"));
                }
                // What is in no row is no module: a macro, say.
                _ => {}
            }
        }
    }
    assert_eq!(wrong, BTreeSet::new(), "docs/architecture.md and src/ differ");
}

#[test]
fn no_two_files_use_each_other() {
    let modules = modules();
    let is_file = |path: &[String]| modules.contains_key(path);
    let related =
        |one: &[String], other: &[String]| one.starts_with(other) || other.starts_with(one);
    let uses: BTreeMap<&[String], BTreeSet<&[String]>> = modules
        .iter()
        .map(|(file, paths)| {
            // The longest beginning of a path that is a file.
            let used = paths.iter().filter_map(|path| {
                (1..=path.len()).rev().map(|end| &path[..end]).find(|path| is_file(path))
            });
            let used = used.filter(|used| !related(used, file));
            (file.as_slice(), used.collect())
        })
        .collect();
    let mut circles = BTreeSet::new();
    for file in uses.keys() {
        let mut reached: BTreeSet<&[String]> = BTreeSet::new();
        let mut next: Vec<&[String]> = uses[file].iter().copied().collect();
        while let Some(used) = next.pop() {
            if reached.insert(used) {
                next.extend(&uses[used]);
            }
        }
        if reached.contains(file) {
            circles.insert(file.join("::"));
        }
    }
    assert_eq!(circles, BTreeSet::new(), "files that use themselves by way of others");
}
