//! Settings: a flag beats a variable, a variable beats `config.toml`, that beats the default. For the
//! two binaries only; everybody else is handed values.
//!
//! A new setting is a row of the [table](SETTINGS) and its use below.

use crate::bet::{Agencies, AgencyId};
use crate::connection::{Acceptor, Connector, InvalidTls, TlsFiles};
use crate::text::{LogValue, if_denied};
use crate::{client, ledger, server};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

mod file;
mod table;

use file::File;
pub use table::{Fallback, Kind, Program, SETTINGS, Setting, misspelled};

/// The file that is read from the working directory if no other is named.
pub const DEFAULT_FILE: &str = "config.toml";

/// Names text by a name: the variables of the environment, say.
pub type Lookup<'s> = dyn Fn(&str) -> Option<OsString> + 's;

/// Sources of settings, the first to have one wins: flags, variables, the file, the defaults.
pub struct Sources<'s> {
    program: Program,
    flag: &'s Lookup<'s>,
    variable: &'s Lookup<'s>,
    file: File,
    file_name: String,
}

/// What to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter {
    /// A level, or a filter of `RUST_LOG`.
    pub filter: String,
    /// Whether a flag, a variable or the file asked for it.
    pub is_asked_for: bool,
}

impl<'s> Sources<'s> {
    /// Reads `file`, or [`DEFAULT_FILE`] if that exists. `flag` is asked for flags without dashes.
    ///
    /// # Errors
    ///
    /// It cannot be read, or holds something that is no setting.
    pub fn read(
        program: Program,
        file: Option<&Path>,
        flag: &'s Lookup<'s>,
        variable: &'s Lookup<'s>,
    ) -> Result<Sources<'s>, InvalidConfig> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let file_name = path.display().to_string();
        let file = match std::fs::read_to_string(path) {
            Ok(text) => File::parse(&text)
                .map_err(|(line, reason)| invalid(format!("{file_name}:{line}"), reason))?,
            Err(error) if file.is_none() && error.kind() == io::ErrorKind::NotFound => {
                File::default()
            }
            Err(error) => {
                let reason = format!("{error}{}", if_denied(&error));
                return Err(invalid(file_name, reason));
            }
        };
        Ok(Sources { program, flag, variable, file, file_name })
    }

    /// Returns the settings of the program as a part of a log line: ` | key: value` for each.
    ///
    /// # Errors
    ///
    /// The first setting that is not as it has to be.
    pub fn log_parts(&self) -> Result<String, InvalidConfig> {
        let mut parts = String::new();
        let own = |setting: &&Setting| setting.programs.contains(&self.program);
        // One word says enough of TLS.
        let shown = |setting: &&Setting| !setting.key.starts_with("tls.");
        for setting in SETTINGS.iter().filter(own).filter(shown) {
            let value = if setting.kind == Kind::Level {
                self.log_filter()?.filter
            } else {
                match (self.value(setting)?, setting.default) {
                    (Some(value), _) => value.to_string_lossy().into_owned(),
                    (None, Fallback::Nothing(name) | Fallback::Value(name)) => name.to_owned(),
                }
            };
            parts.push_str(&format!(" | {}: {}", setting.shown(), LogValue(value)));
        }
        parts.push_str(&format!(" | tls: {}", self.tls()?.is_some()));
        Ok(parts)
    }

    /// Returns what to log.
    ///
    /// # Errors
    ///
    /// It is no level.
    pub fn log_filter(&self) -> Result<LogFilter, InvalidConfig> {
        let setting = &table::LOG_LEVEL;
        if self.given_by_hand(setting).is_none()
            && let Some(filter) = non_empty((self.variable)("RUST_LOG"))
        {
            let filter = filter.into_string();
            let filter = filter.map_err(|_| invalid("RUST_LOG", "must be UTF-8"))?;
            return Ok(LogFilter { filter, is_asked_for: true });
        }
        Ok(LogFilter { filter: self.text(setting)?, is_asked_for: self.given(setting).is_some() })
    }

    /// Returns where the server listens, `HOST:PORT`.
    ///
    /// # Errors
    ///
    /// It is no address.
    pub fn address(&self) -> Result<String, InvalidConfig> {
        self.text(&table::ADDRESS)
    }

    /// Returns what the ledger is opened with.
    ///
    /// # Errors
    ///
    /// The first setting that is not as it has to be.
    pub fn ledger(&self) -> Result<ledger::Settings, InvalidConfig> {
        let agencies = self.number(&table::AGENCIES)?;
        Ok(ledger::Settings {
            bets: self.path(&table::BETS)?,
            result: self.path(&table::DRAW)?,
            agencies: Agencies::new(agencies).ok_or_else(|| self.wrong(&table::AGENCIES))?,
            winning_number: self.number(&table::WINNING_NUMBER)?,
        })
    }

    /// Returns how the server runs. Reads the files of TLS.
    ///
    /// # Errors
    ///
    /// The first setting that is not as it has to be, or a file of TLS.
    pub fn server(&self) -> Result<server::Settings, InvalidConfig> {
        Ok(server::Settings {
            max_connections: self.number(&table::MAX_CONNECTIONS)?,
            message_timeout: self.time(&table::MESSAGE_TIMEOUT)?,
            newcomer_timeout: self.time(&table::NEWCOMER_TIMEOUT)?,
            exit_after_draw: self.switch(&table::EXIT_AFTER_DRAW)?,
            tls: self.tls()?.as_ref().map(Acceptor::open).transpose()?,
        })
    }

    /// Returns how the client talks with the server. Reads the files of TLS.
    ///
    /// # Errors
    ///
    /// The first setting that is not as it has to be, or a file of TLS.
    pub fn client(&self) -> Result<client::Settings, InvalidConfig> {
        let server_address = self.text(&table::SERVER_ADDRESS)?;
        let tls = self.tls()?.map(|files| Connector::open(&files, &server_address)).transpose()?;
        Ok(client::Settings {
            server_address,
            batch_max_amount: self.number(&table::BATCH_MAX_AMOUNT)?,
            batch_period: self.time(&table::BATCH_PERIOD)?,
            window: self.number(&table::WINDOW)?,
            resume: self.switch(&table::RESUME)?,
            reply_timeout: self.time(&table::REPLY_TIMEOUT)?,
            retry_for: self.time(&table::RETRY_FOR)?,
            tls,
        })
    }

    /// Returns the client's agency. `None` means every agency of the directory.
    ///
    /// # Errors
    ///
    /// It is no agency.
    pub fn agency(&self) -> Result<Option<AgencyId>, InvalidConfig> {
        match self.value(&table::ID)? {
            None => Ok(None),
            Some(_) => Ok(AgencyId::new(self.number(&table::ID)?)),
        }
    }

    /// Returns the directory of the agencies' files.
    ///
    /// # Errors
    ///
    /// It is empty.
    pub fn agencies_dir(&self) -> Result<PathBuf, InvalidConfig> {
        self.path(&table::AGENCIES_DIR)
    }

    /// Returns the files of TLS. `None` means plain TCP.
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

    /// Returns what a flag or a variable says, and which. An empty variable counts as unset.
    fn given_by_hand(&self, setting: &Setting) -> Option<(String, OsString)> {
        let flag = || {
            let (flag, _) = setting.flag()?;
            Some((format!("--{flag}"), (self.flag)(flag)?))
        };
        let variable =
            || Some((setting.variable.into(), non_empty((self.variable)(setting.variable))?));
        flag().or_else(variable)
    }

    /// Returns what a setting is given as, and where.
    fn given(&self, setting: &Setting) -> Option<(String, OsString)> {
        let file =
            || Some((format!("{}: {}", self.file_name, setting.key), self.file.get(setting)?));
        self.given_by_hand(setting).or_else(file)
    }

    /// Returns a setting, or its default if that is a value.
    fn value(&self, setting: &Setting) -> Result<Option<OsString>, InvalidConfig> {
        match (self.given(setting), setting.default) {
            (Some((place, text)), _) => {
                setting.kind.normal(text).map(Some).map_err(|reason| invalid(place, reason))
            }
            (None, Fallback::Value(text)) => Ok(Some(text.into())),
            (None, Fallback::Nothing(_)) => Ok(None),
        }
    }

    /// Returns the error of a setting that is missing or of another kind than its use.
    fn wrong(&self, setting: &Setting) -> InvalidConfig {
        invalid(setting.key, setting.kind.rule())
    }

    fn text(&self, setting: &Setting) -> Result<String, InvalidConfig> {
        let text = self.value(setting)?.and_then(|text| text.into_string().ok());
        text.ok_or_else(|| self.wrong(setting))
    }

    fn number<T: TryFrom<u64>>(&self, setting: &Setting) -> Result<T, InvalidConfig> {
        let number = self.text(setting)?.parse::<u64>().ok();
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| self.wrong(setting))
    }

    fn time(&self, setting: &Setting) -> Result<Duration, InvalidConfig> {
        self.number(setting).map(Duration::from_millis)
    }

    fn switch(&self, setting: &Setting) -> Result<bool, InvalidConfig> {
        self.text(setting)?.parse().map_err(|_| self.wrong(setting))
    }

    fn path(&self, setting: &Setting) -> Result<PathBuf, InvalidConfig> {
        self.value(setting)?.map(PathBuf::from).ok_or_else(|| self.wrong(setting))
    }
}

fn non_empty(text: Option<OsString>) -> Option<OsString> {
    text.filter(|text| !text.is_empty())
}

fn invalid(place: impl Into<String>, reason: impl ToString) -> InvalidConfig {
    InvalidConfig::Setting { place: place.into(), reason: reason.to_string() }
}

/// A setting that is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidConfig {
    /// One of the table, or what the file has in its place.
    #[error("{place}: {reason}")]
    Setting {
        /// Where it is given.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What a file of TLS holds.
    #[error(transparent)]
    Tls(#[from] InvalidTls),
}
