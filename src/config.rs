//! Settings, by precedence: flag, variable, `config.toml`, default. For the two binaries only; other modules get
//! values.
//!
//! A new setting is a row of the [table](SETTINGS) and its use below.

use crate::bet::{Agencies, AgencyId};
use crate::connection::{Acceptor, Connector, InvalidTls, TlsFiles};
use crate::system::if_denied;
use crate::text::LogValue;
use crate::{client, ledger, server};
use log::LevelFilter;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::{Debug, Display};
use std::fs;
use std::io::ErrorKind::NotFound;
use std::iter;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

mod file;
mod table;

pub use table::{Fallback, Kind, Program, SETTINGS, Setting, misspelled};

/// The file that is read from the working directory if no other is named.
pub const DEFAULT_FILE: &str = "config.toml";

/// The variable of a filter for the log. The level's own flag and variable have precedence.
const LOG_VARIABLE: &str = "RUST_LOG";

/// The settings of a program.
pub struct Config {
    program: Program,
    /// The settings that are given, by their keys, each with the name of the flag, the variable or the file that gives it.
    /// They are not checked yet.
    given: HashMap<&'static str, (String, OsString)>,
}

impl Config {
    /// Reads `file`, or [`DEFAULT_FILE`] if that exists. `flag` takes the names of flags without dashes. An empty
    /// variable counts as unset.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds an unknown or invalid key.
    pub fn read(
        program: Program,
        file: Option<&Path>,
        flag: impl Fn(&str) -> Option<OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Config, InvalidConfig> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let file_name = path.display().to_string();
        let link = path.read_link();
        let in_file = match fs::read_to_string(path) {
            Ok(text) => file::parse(&text)
                .map_err(|(line, reason)| invalid(format!("{file_name}:{line}"), reason))?,
            Err(error) if file.is_none() && link.is_err() && error.kind() == NotFound => {
                HashMap::new()
            }
            Err(error) => {
                let link = link.map_or(String::new(), |target| {
                    format!("; it is a symbolic link to {}", target.display())
                });
                let reason = format!("{error}{link}{}", if_denied(&error, "read it"));
                return Err(invalid(file_name, reason));
            }
        };
        let in_file = in_file.into_iter().map(|(key, text)| (key, (file_name.clone(), text)));
        let mut given: HashMap<_, _> = in_file.collect();
        let variables = SETTINGS.iter().map(|setting| (setting.key, setting.variable));
        for (key, name) in iter::once((table::LOG_LEVEL.key, LOG_VARIABLE)).chain(variables) {
            if let Some(text) = variable(name).filter(|text| !text.is_empty()) {
                given.insert(key, (name.to_owned(), text));
            }
        }
        for setting in SETTINGS {
            if let Some((name, _)) = setting.split_flag()
                && let Some(text) = flag(name)
            {
                given.insert(setting.key, (format!("--{name}"), text));
            }
        }
        Ok(Config { program, given })
    }

    /// Returns the settings of the program as a part of a log line: ` | key: value` for each.
    ///
    /// # Errors
    ///
    /// The first invalid setting.
    pub fn log_parts(&self) -> Result<String, InvalidConfig> {
        let mut parts = String::new();
        let own = |setting: &&Setting| setting.programs.contains(&self.program);
        // The part `tls` below replaces these.
        let shown = |setting: &&Setting| !setting.key.starts_with("tls.");
        for setting in SETTINGS.iter().filter(own).filter(shown) {
            let value = if setting.kind == Kind::Level {
                self.log_filter()?
            } else {
                let value = self.value(setting)?.unwrap_or(setting.default.text().into());
                value.to_string_lossy().into_owned()
            };
            parts.push_str(&format!(" | {}: {}", setting.shown(), LogValue(value)));
        }
        parts.push_str(&format!(" | tls: {}", self.tls()?.is_some()));
        Ok(parts)
    }

    /// Returns the log's filter: a level, or a filter of `RUST_LOG`.
    ///
    /// # Errors
    ///
    /// The level is invalid.
    pub fn log_filter(&self) -> Result<String, InvalidConfig> {
        match self.given.get(table::LOG_LEVEL.key) {
            Some((place, filter)) if place == LOG_VARIABLE => {
                let text = filter.to_str().filter(|text| is_filter(text));
                let rule = "must be a level or a filter such as loteria::session=debug";
                Ok(text.ok_or_else(|| invalid(place, format!("{rule}, not {filter:?}")))?.into())
            }
            _ => self.text(&table::LOG_LEVEL),
        }
    }

    /// Returns whether a flag, a variable or the file gives the log's filter.
    pub fn has_log_filter(&self) -> bool {
        self.given.contains_key(table::LOG_LEVEL.key)
    }

    /// Returns the address on which the server listens, `HOST:PORT`.
    ///
    /// # Errors
    ///
    /// The address is invalid.
    pub fn address(&self) -> Result<String, InvalidConfig> {
        self.text(&table::ADDRESS)
    }

    /// Returns the settings of the ledger.
    ///
    /// # Errors
    ///
    /// The first invalid setting.
    pub fn ledger(&self) -> Result<ledger::Settings, InvalidConfig> {
        let agencies = self.parsed(&table::AGENCIES)?;
        Ok(ledger::Settings {
            bets: self.path(&table::BETS)?,
            result: self.path(&table::DRAW)?,
            agencies: Agencies::new(agencies).expect("the table has the same range"),
            winning_number: self.parsed(&table::WINNING_NUMBER)?,
        })
    }

    /// Returns the settings of the server. Reads the TLS files.
    ///
    /// # Errors
    ///
    /// The first invalid setting or TLS file.
    pub fn server(&self) -> Result<server::Settings, InvalidConfig> {
        Ok(server::Settings {
            max_connections: self.parsed(&table::MAX_CONNECTIONS)?,
            message_timeout: self.time(&table::MESSAGE_TIMEOUT)?,
            newcomer_timeout: self.time(&table::NEWCOMER_TIMEOUT)?,
            exit_after_draw: self.parsed(&table::EXIT_AFTER_DRAW)?,
            tls: self.tls()?.as_ref().map(Acceptor::open).transpose()?,
        })
    }

    /// Returns the settings of an agency. Reads the TLS files.
    ///
    /// # Errors
    ///
    /// The first invalid setting or TLS file.
    pub fn client(&self) -> Result<client::Settings, InvalidConfig> {
        let server_address = self.text(&table::SERVER_ADDRESS)?;
        let tls = self.tls()?.map(|files| Connector::open(&files, &server_address)).transpose()?;
        Ok(client::Settings {
            server_address,
            batch_max_amount: self.parsed(&table::BATCH_MAX_AMOUNT)?,
            batch_period: self.time(&table::BATCH_PERIOD)?,
            window: self.parsed(&table::WINDOW)?,
            resume: self.parsed(&table::RESUME)?,
            reply_timeout: self.time(&table::REPLY_TIMEOUT)?,
            retry_for: self.time(&table::RETRY_FOR)?,
            tls,
        })
    }

    /// Returns the client's agency. `None` means every agency of the directory.
    ///
    /// # Errors
    ///
    /// The agency is invalid.
    pub fn agency(&self) -> Result<Option<AgencyId>, InvalidConfig> {
        let parse = |id: OsString| id.to_str().and_then(AgencyId::parse);
        Ok(self.value(&table::ID)?.map(|id| parse(id).expect("the table has the same range")))
    }

    /// Returns the directory of the agencies' files.
    ///
    /// # Errors
    ///
    /// The directory's name is empty.
    pub fn agencies_dir(&self) -> Result<PathBuf, InvalidConfig> {
        self.path(&table::AGENCIES_DIR)
    }

    /// Returns the TLS files. `None` means plain TCP.
    ///
    /// # Errors
    ///
    /// Some of them are set and some are not.
    pub fn tls(&self) -> Result<Option<TlsFiles>, InvalidConfig> {
        let needed = [table::TLS_CERTIFICATE, table::TLS_KEY, table::TLS_AUTHORITY];
        let revoked = self.value(&table::TLS_REVOKED)?.map(PathBuf::from);
        let (mut paths, mut missing) = (Vec::new(), Vec::new());
        for setting in &needed {
            match self.value(setting)? {
                Some(path) => paths.push(PathBuf::from(path)),
                None => missing.push(format!("{} ({})", setting.key, setting.variable)),
            }
        }
        if paths.is_empty() && revoked.is_none() {
            return Ok(None);
        }
        let [certificate, key, authority] = paths
            .try_into()
            .map_err(|_| invalid("tls", format!("also needs {}", missing.join(" and "))))?;
        Ok(Some(TlsFiles { certificate, key, authority, revoked }))
    }

    /// Returns a setting, or its default if that is a value.
    fn value(&self, setting: &Setting) -> Result<Option<OsString>, InvalidConfig> {
        let Some((place, text)) = self.given.get(setting.key) else {
            return Ok(match setting.default {
                Fallback::Value(text) => Some(text.into()),
                Fallback::Nothing(_) => None,
            });
        };
        setting.kind.normal(text.clone()).map(Some).map_err(|reason| invalid(place, reason))
    }

    fn path(&self, setting: &Setting) -> Result<PathBuf, InvalidConfig> {
        Ok(self.value(setting)?.expect("the table has a default").into())
    }

    fn text(&self, setting: &Setting) -> Result<String, InvalidConfig> {
        let text = self.value(setting)?.expect("the table has a default").into_string();
        Ok(text.expect("only a path may be no UTF-8"))
    }

    /// Returns a number or a switch.
    fn parsed<T: FromStr<Err: Debug>>(&self, setting: &Setting) -> Result<T, InvalidConfig> {
        Ok(self.text(setting)?.parse().expect("the kind in the table fits the use"))
    }

    fn time(&self, setting: &Setting) -> Result<Duration, InvalidConfig> {
        self.parsed(setting).map(Duration::from_millis)
    }
}

/// Returns whether each part of a filter of [`LOG_VARIABLE`] names a level, or a module of the programs. A misspelled level
/// would otherwise be taken for a module that logs nothing.
fn is_filter(text: &str) -> bool {
    let (parts, search) = text.split_once('/').unwrap_or((text, ""));
    let is_level = |text: &str| text.is_empty() || text.parse::<LevelFilter>().is_ok();
    let is_module =
        |text: &str| ["loteria", "server", "client"].iter().any(|name| text.starts_with(name));
    let is_part = |part: &str| match part.split_once('=') {
        Some((_module, level)) => is_level(level.trim()),
        None => is_level(part.trim()) || is_module(part.trim()),
    };
    parts.split(',').all(is_part) && !search.contains('/')
}

fn invalid(place: impl Display, reason: impl Display) -> InvalidConfig {
    InvalidConfig(format!("{place}: {reason}"))
}

/// The error of an invalid setting: the flag, the variable or the line of the file that gives it, and the rule that it
/// breaks; or that of a TLS file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InvalidConfig(String);

impl From<InvalidTls> for InvalidConfig {
    fn from(invalid: InvalidTls) -> InvalidConfig {
        InvalidConfig(invalid.to_string())
    }
}
