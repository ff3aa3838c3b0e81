//! At stake: that all around the code is true: the README, the recipes, the scripts, the example and the
//! agencies' files. Each is run or compared with what it speaks of.

mod agencies;
mod control;
mod data;
mod example;
mod map;
mod national;
mod packaging;
mod pages;
mod readme;
mod scripts;
#[path = "../support/mod.rs"]
mod support;
