//! Takes `src/draw.rs` as it is, but for where its threads and locks come from. Nothing in it
//! has to know that it is checked.

use std::{env, fs, path::Path};

const DRAW: &str = "../src/draw.rs";
/// What is exchanged; each has to be there once.
const EXCHANGED: [(&str, &str); 1] =
    [("use std::sync::{Barrier,", "use crate::threads::{Barrier,")];

fn main() {
    println!("cargo::rerun-if-changed={DRAW}");
    let text = fs::read_to_string(DRAW).expect("src/draw.rs is beside model/");
    let (text, _tests) = text.split_once("#[cfg(test)]").expect("its tests are behind it");
    // Comments that belong to a whole file cannot stand within another.
    let mut text: String = text
        .lines()
        .filter(|line| !line.starts_with("//!"))
        .map(|line| format!("{line}\n"))
        .collect();
    for (own, model) in EXCHANGED {
        assert_eq!(text.matches(own).count(), 1, "{DRAW} has {own:?} once");
        text = text.replace(own, model);
    }
    let directory = env::var("OUT_DIR").expect("cargo says where");
    fs::write(Path::new(&directory).join("draw.rs"), text).expect("it can be written");
}
