//! The arguments of both programs, made from the table of settings. The only user of the `clap` crate.

use clap::builder::{EnumValueParser, OsStringValueParser, StyledStr};
use clap::{Arg, ArgAction, ArgMatches, Command};
use clap_complete::Shell;
use loteria::config::{DEFAULT_FILE, Kind, Program, SETTINGS, Setting};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The widest that the help may be, in columns.
const HELP_WIDTH: usize = 80;

/// The flag that names another file than [`DEFAULT_FILE`].
pub(crate) const CONFIG: &str = "config";

/// The flags for packaging the programs: completions for a shell, and the manual page.
const COMPLETIONS: &str = "completions";
const MANUAL: &str = "man";

/// The arguments of a program.
pub(crate) struct Arguments(ArgMatches);

impl Arguments {
    /// Reads the arguments of this process. Ends it with a message if they are wrong, or ask for help.
    ///
    /// `others` are the flags that are no settings; `examples` is the end of the help.
    pub(crate) fn parse(
        program: Program,
        about: &'static str,
        others: Vec<Arg>,
        examples: &str,
    ) -> Arguments {
        let mut command = command(program, about, others, examples);
        let matches = command.clone().args(for_packages()).get_matches();
        let written = if let Some(shell) = matches.get_one::<Shell>(COMPLETIONS) {
            let name = command.get_name().to_owned();
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, name, &mut script);
            io::stdout().write_all(&script)
        } else if matches.get_flag(MANUAL) {
            clap_mangen::Man::new(command).render(&mut io::stdout())
        } else {
            return Arguments(matches);
        };
        if let Err(error) = &written {
            // There is no place to report that stderr cannot be written either.
            let _failed = writeln!(io::stderr(), "error: stdout could not be written: {error}");
        }
        std::process::exit(i32::from(written.is_err()))
    }

    /// Returns the value of a flag, `true` if it takes none. Returns `None` if it was not given. The name is without
    /// dashes.
    pub(crate) fn flag(&self, name: &str) -> Option<OsString> {
        let value = self.0.try_get_one::<OsString>(name).ok().flatten().cloned();
        value.or_else(|| self.is_set(name).then(|| "true".into()))
    }

    /// Returns whether a flag without a value was given.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.0.try_get_one(name).ok().flatten() == Some(&true)
    }

    /// Returns the file that a flag names.
    pub(crate) fn file(&self, name: &str) -> Option<&Path> {
        self.0.try_get_one::<OsString>(name).ok().flatten().map(Path::new)
    }
}

/// Makes a flag without a value.
pub(crate) fn switch(name: &'static str, help: impl Into<StyledStr>) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

/// Makes a flag with a value, for which a shell completes the names of files.
pub(crate) fn option(name: &'static str, value: &'static str, help: String) -> Arg {
    Arg::new(name).long(name).value_name(value).value_parser(OsStringValueParser::new()).help(help)
}

fn command(program: Program, about: &'static str, others: Vec<Arg>, examples: &str) -> Command {
    let settings = || SETTINGS.iter().filter(|setting| setting.programs.contains(&program));
    let help = format!("Configuration file [default: {DEFAULT_FILE}, if there is one]");
    // The examples have the name that a package gives the program.
    let [known, own] = [env!("CARGO_BIN_NAME"), &own_name()].map(|name| format!(" {name} "));
    let examples = examples.replace(&known, &own);
    Command::new(own_name())
        .version(env!("CARGO_PKG_VERSION"))
        .about(about.lines().next().unwrap_or_default())
        .long_about(about)
        .after_help(format!("{}\n{examples}", without_flag(settings())))
        .max_term_width(HELP_WIDTH)
        .arg(option(CONFIG, "FILE", help))
        .args(settings().filter_map(argument))
        .args(others)
}

/// Makes the flags for packaging the programs, which the help does not show.
fn for_packages() -> [Arg; 2] {
    let completions = Arg::new(COMPLETIONS).long(COMPLETIONS).value_name("SHELL");
    let completions = completions.value_parser(EnumValueParser::<Shell>::new());
    let manual = switch(MANUAL, "Print the manual page");
    [completions, manual].map(|flag| flag.exclusive(true).hide(true))
}

/// Returns the name that the program was started by: a package may call it `loteria-server`.
fn own_name() -> String {
    let path = std::env::args_os().next().map(PathBuf::from);
    let name = path.as_ref().and_then(|path| path.file_name()?.to_str());
    name.unwrap_or(env!("CARGO_BIN_NAME")).to_owned()
}

/// Makes the flag of a setting, if it has one.
fn argument(setting: &'static Setting) -> Option<Arg> {
    let (name, value) = setting.split_flag()?;
    Some(match value {
        None => switch(name, help(setting)),
        // So that the error for a negative number is that of the setting, with its rule.
        Some(value) => option(name, value, help(setting))
            .allow_hyphen_values(matches!(setting.kind, Kind::Number(..))),
    })
}

fn help(setting: &Setting) -> String {
    let second = if setting.kind == Kind::Level { ", then RUST_LOG" } else { "" };
    let default = match setting.kind {
        Kind::Switch => String::new(),
        _ => format!(" [default: {}]", setting.default.text()),
    };
    format!("{} [variable: {}{second}]{default}", sentence(setting), setting.variable)
}

/// Returns the purpose of a setting, with its range.
fn sentence(setting: &Setting) -> String {
    match setting.kind {
        Kind::Number(least, most) => format!("{}, {least} to {most}", setting.sentence),
        _ => setting.sentence.into(),
    }
}

/// Lists the settings that have no flag.
fn without_flag(settings: impl Iterator<Item = &'static Setting>) -> String {
    let mut list: String =
        "Settings without a flag (variable, key of the configuration, default):\n".into();
    for setting in settings.filter(|setting| setting.flag.is_empty()) {
        let Setting { variable, key, .. } = setting;
        let (default, sentence) = (setting.default.text(), sentence(setting));
        list.push_str(&format!("  {variable:<26}  {key:<26}  {default}\n      {sentence}\n"));
    }
    list
}
