//! Settings: a flag beats a variable, a variable beats `config.toml`, that beats the default. For the
//! two binaries only; everybody else is handed values.

use crate::bet::{AGENCIES_MAX, Agencies, AgencyId, NUMBER_MAX};
use crate::connection::TlsFiles;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

mod file;

use file::File;

/// The file that is read from the working directory where no other is named.
pub const DEFAULT_FILE: &str = "config.toml";

/// How many batches the client has on their way where nothing else is said; see
/// `docs/performance.md`.
pub const DEFAULT_WINDOW: u32 = 128;

const TIME_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// A setting, by the three names that it can be given under.
#[derive(Clone, Copy, Debug)]
struct Setting {
    key: &'static str,
    variable: &'static str,
    flag: &'static str,
}

macro_rules! settings {
    ($($name:ident: $key:literal, $variable:literal, $flag:literal;)+) => {
        $(const $name: Setting = Setting { key: $key, variable: $variable, flag: $flag };)+
    };
}

settings! {
    AGENCIES: "lottery.agencies", "AGENCIES", "--agencies";
    WINNING_NUMBER: "lottery.winning_number", "WINNING_NUMBER", "--winning-number";
    ADDRESS: "server.address", "SERVER_ADDRESS", "--address";
    MAX_CONNECTIONS: "server.max_connections", "SERVER_MAX_CONNECTIONS", "";
    MESSAGE_TIMEOUT: "server.message_timeout_ms", "SERVER_MESSAGE_TIMEOUT_MS", "";
    EXIT_AFTER_DRAW: "server.exit_after_draw", "SERVER_EXIT_AFTER_DRAW", "--exit-after-draw";
    BETS: "storage.bets", "BETS_FILE", "--bets";
    DRAW: "storage.draw", "DRAW_FILE", "";
    SERVER: "client.server_address", "CLI_SERVER_ADDRESS", "--server";
    ID: "client.id", "CLI_ID", "--agency";
    AGENCIES_DIR: "client.agencies_dir", "CLI_AGENCIES_DIR", "";
    BATCH_MAX_AMOUNT: "client.batch_max_amount", "CLI_BATCH_MAX_AMOUNT", "--batch-max-amount";
    BATCH_PERIOD: "client.batch_period_ms", "CLI_BATCH_PERIOD_MS", "";
    WINDOW: "client.window", "CLI_WINDOW", "";
    RESUME: "client.resume", "CLI_RESUME", "";
    REPLY_TIMEOUT: "client.reply_timeout_ms", "CLI_REPLY_TIMEOUT_MS", "";
    RETRY_FOR: "client.retry_for_ms", "CLI_RETRY_FOR_MS", "";
    TLS_CERTIFICATE: "tls.certificate", "TLS_CERTIFICATE", "";
    TLS_KEY: "tls.key", "TLS_KEY", "";
    TLS_AUTHORITY: "tls.authority", "TLS_AUTHORITY", "";
    LOG_LEVEL: "log.level", "LOG_LEVEL", "--log-level";
}

/// The flags, as they were given.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--agencies`
    pub agencies: Option<String>,
    /// `--winning-number`
    pub winning_number: Option<String>,
    /// `--address`
    pub address: Option<String>,
    /// `--exit-after-draw`
    pub exit_after_draw: bool,
    /// `--bets`
    pub bets: Option<PathBuf>,
    /// `--server`
    pub server: Option<String>,
    /// `--agency`
    pub agency: Option<String>,
    /// `--file`
    pub file: Option<PathBuf>,
    /// `--batch-max-amount`
    pub batch_max_amount: Option<String>,
    /// `--log-level`
    pub log_level: Option<String>,
}

/// The server's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The lottery's agencies.
    pub agencies: Agencies,
    /// The number that wins.
    pub winning_number: u16,
    /// Where to listen, `HOST:PORT`.
    pub address: String,
    /// The most connections at a time.
    pub max_connections: u32,
    /// How long a peer may take to complete a message.
    pub message_timeout: Duration,
    /// Whether to stop after the draw.
    pub exit_after_draw: bool,
    /// The path of `bets.csv`.
    pub bets: PathBuf,
    /// The path of `sorteo.toml`.
    pub draw: PathBuf,
    /// How to speak TLS, which is not spoken where there is nothing.
    pub tls: Option<TlsFiles>,
}

/// The client's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Where the server is, `HOST:PORT`.
    pub server_address: String,
    /// The agency; all of the directory where there is none.
    pub id: Option<AgencyId>,
    /// The agency's file, where it is not the one of the directory.
    pub file: Option<PathBuf>,
    /// Where the agencies' files are.
    pub agencies_dir: PathBuf,
    /// The most bets in a batch.
    pub batch_max_amount: u32,
    /// How long to pause between batches.
    pub batch_period: Duration,
    /// How many batches may be on their way.
    pub window: u32,
    /// Whether the server is asked how far the agency got.
    pub resume: bool,
    /// How long a confirmation may take.
    pub reply_timeout: Duration,
    /// How long to go on trying without progress.
    pub retry_for: Duration,
    /// How to speak TLS, which is not spoken where there is nothing.
    pub tls: Option<TlsFiles>,
}

/// Where settings come from, in the order of their weight.
pub struct Sources<'s> {
    flags: &'s Flags,
    variable: &'s dyn Fn(&str) -> Option<OsString>,
    file: File,
    file_name: String,
}

impl<'s> Sources<'s> {
    /// Reads the file that the flags name, or [`DEFAULT_FILE`] where that exists.
    ///
    /// # Errors
    ///
    /// It cannot be read, or holds something that is no setting.
    pub fn read(
        flags: &'s Flags,
        variable: &'s dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Sources<'s>, InvalidConfig> {
        let path = flags.config.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
        let file_name = path.display().to_string();
        let file = match std::fs::read_to_string(path) {
            Ok(text) => File::parse(&text).map_err(|(line, reason)| {
                InvalidConfig::new(format!("{file_name}:{line}"), reason)
            })?,
            Err(error) if flags.config.is_none() && error.kind() == io::ErrorKind::NotFound => {
                File::default()
            }
            Err(error) => return Err(InvalidConfig::new(file_name, error.to_string())),
        };
        Ok(Sources { flags, variable, file, file_name })
    }

    /// What to log, as a level or as a filter of `RUST_LOG`.
    ///
    /// # Errors
    ///
    /// It is no level.
    pub fn log_level(&self) -> Result<String, InvalidConfig> {
        let chosen = self.choose(LOG_LEVEL, self.flags.log_level.as_deref(), None)?;
        let rust_log = || self.variable("RUST_LOG");
        let file = || self.file.log.level.clone().map(|level| (self.in_file(LOG_LEVEL), level));
        let Some((source, level)) = chosen else {
            return match rust_log()? {
                Some(filter) => Ok(filter),
                None => file().map_or(Ok("info".into()), |(source, level)| level_of(source, level)),
            };
        };
        level_of(source, level)
    }

    /// The server's settings.
    ///
    /// # Errors
    ///
    /// The first that is not as it has to be.
    pub fn server(&self) -> Result<ServerConfig, InvalidConfig> {
        let (flags, file) = (self.flags, &self.file);
        let agencies = self.number(
            AGENCIES,
            flags.agencies.as_deref(),
            file.lottery.agencies,
            5,
            1..=AGENCIES_MAX,
        )?;
        let number = flags.winning_number.as_deref();
        let (max_connections, message_timeout) =
            (file.server.max_connections, file.server.message_timeout_ms);
        Ok(ServerConfig {
            agencies: Agencies::new(agencies).expect("the range was checked"),
            winning_number: self.number(
                WINNING_NUMBER,
                number,
                file.lottery.winning_number,
                7574,
                0..=NUMBER_MAX,
            )?,
            address: self.address(
                ADDRESS,
                flags.address.as_deref(),
                file.server.address.as_deref(),
            )?,
            max_connections: self.number(
                MAX_CONNECTIONS,
                None,
                max_connections,
                1024,
                1..=65_535,
            )?,
            message_timeout: self.time(MESSAGE_TIMEOUT, message_timeout, 60_000, 1)?,
            exit_after_draw: flags.exit_after_draw
                || self.switch(EXIT_AFTER_DRAW, file.server.exit_after_draw, false)?,
            bets: self.path(BETS, flags.bets.as_deref(), &file.storage.bets, "bets.csv")?,
            draw: self.path(DRAW, None, &file.storage.draw, "sorteo.toml")?,
            tls: self.tls()?,
        })
    }

    /// The client's settings.
    ///
    /// # Errors
    ///
    /// The first that is not as it has to be.
    pub fn client(&self) -> Result<ClientConfig, InvalidConfig> {
        let (flags, file) = (self.flags, &self.file.client);
        let id = self.number(ID, flags.agency.as_deref(), file.id, 0, 1..=AGENCIES_MAX)?;
        let config = ClientConfig {
            server_address: self.address(
                SERVER,
                flags.server.as_deref(),
                file.server_address.as_deref(),
            )?,
            id: AgencyId::new(id),
            file: flags.file.clone(),
            agencies_dir: self.path(AGENCIES_DIR, None, &file.agencies_dir, "agencies")?,
            batch_max_amount: self.number(
                BATCH_MAX_AMOUNT,
                flags.batch_max_amount.as_deref(),
                file.batch_max_amount,
                120,
                1..=1_000_000,
            )?,
            batch_period: self.time(BATCH_PERIOD, file.batch_period_ms, 0, 0)?,
            window: self.number(WINDOW, None, file.window, DEFAULT_WINDOW, 1..=4096)?,
            resume: self.switch(RESUME, file.resume, true)?,
            reply_timeout: self.time(REPLY_TIMEOUT, file.reply_timeout_ms, 30_000, 1)?,
            retry_for: self.time(RETRY_FOR, file.retry_for_ms, 60_000, 0)?,
            tls: self.tls()?,
        };
        if config.file.is_some() && config.id.is_none() {
            let reason = "needs the agency that the file is of: --agency or CLI_ID";
            return Err(InvalidConfig::new("--file".into(), reason.into()));
        }
        Ok(config)
    }

    /// The files of TLS: all three or none.
    fn tls(&self) -> Result<Option<TlsFiles>, InvalidConfig> {
        let file = &self.file.tls;
        let settings = [
            (TLS_CERTIFICATE, &file.certificate),
            (TLS_KEY, &file.key),
            (TLS_AUTHORITY, &file.authority),
        ];
        let mut paths = Vec::new();
        let mut missing = Vec::new();
        for (setting, file) in settings {
            match self.path_if_set(setting, None, file)? {
                Some(path) => paths.push(path),
                None => missing.push(format!("{} ({})", setting.key, setting.variable)),
            }
        }
        if missing.len() == settings.len() {
            return Ok(None);
        }
        let [certificate, key, authority] = paths.try_into().map_err(|_| {
            let reason = format!("also needs {}", missing.join(" and "));
            InvalidConfig::new("tls".into(), reason)
        })?;
        Ok(Some(TlsFiles { certificate, key, authority }))
    }

    /// Where a setting comes from and what it is, as text; `None` for the default.
    fn choose(
        &self,
        setting: Setting,
        flag: Option<&str>,
        file: Option<String>,
    ) -> Result<Option<(String, String)>, InvalidConfig> {
        if let Some(text) = flag {
            return Ok(Some((setting.flag.into(), text.into())));
        }
        if let Some(text) = self.variable(setting.variable)? {
            return Ok(Some((setting.variable.into(), text)));
        }
        Ok(file.map(|text| (self.in_file(setting), text)))
    }

    /// A variable's text; one that is empty counts as not set.
    fn variable(&self, name: &str) -> Result<Option<String>, InvalidConfig> {
        let value = (self.variable)(name).filter(|value| !value.is_empty());
        let text = value.map(OsString::into_string).transpose();
        text.map_err(|_| InvalidConfig::new(name.into(), "must be UTF-8".into()))
    }

    fn in_file(&self, setting: Setting) -> String {
        format!("{}: {}", self.file_name, setting.key)
    }

    fn number<T: FromStr + PartialOrd + fmt::Display>(
        &self,
        setting: Setting,
        flag: Option<&str>,
        file: Option<i64>,
        default: T,
        range: RangeInclusive<T>,
    ) -> Result<T, InvalidConfig> {
        let file = file.map(|number| number.to_string());
        let Some((source, text)) = self.choose(setting, flag, file)? else { return Ok(default) };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let (least, most) = range.into_inner();
            let reason = format!("must be a number from {least} to {most}, not \"{text}\"");
            InvalidConfig::new(source, reason)
        })
    }

    fn time(
        &self,
        setting: Setting,
        file: Option<i64>,
        default_ms: u64,
        least_ms: u64,
    ) -> Result<Duration, InvalidConfig> {
        let ms = self.number(setting, None, file, default_ms, least_ms..=TIME_MAX_MS)?;
        Ok(Duration::from_millis(ms))
    }

    fn switch(
        &self,
        setting: Setting,
        file: Option<bool>,
        default: bool,
    ) -> Result<bool, InvalidConfig> {
        let file = file.map(|switch| switch.to_string());
        let Some((source, text)) = self.choose(setting, None, file)? else { return Ok(default) };
        let invalid =
            |_| InvalidConfig::new(source, format!("must be true or false, not \"{text}\""));
        text.parse().map_err(invalid)
    }

    fn path(
        &self,
        setting: Setting,
        flag: Option<&Path>,
        file: &Option<PathBuf>,
        default: &str,
    ) -> Result<PathBuf, InvalidConfig> {
        let path = self.path_if_set(setting, flag, file)?;
        Ok(path.unwrap_or_else(|| default.into()))
    }

    fn path_if_set(
        &self,
        setting: Setting,
        flag: Option<&Path>,
        file: &Option<PathBuf>,
    ) -> Result<Option<PathBuf>, InvalidConfig> {
        let variable = (self.variable)(setting.variable).filter(|value| !value.is_empty());
        let flag = flag.map(Path::to_owned);
        let path = flag.or(variable.map(PathBuf::from)).or_else(|| file.clone());
        if path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            let reason = "must name a file or a directory".into();
            return Err(InvalidConfig::new(self.in_file(setting), reason));
        }
        Ok(path)
    }

    /// `HOST:PORT`; whether there is such a host is found out later.
    fn address(
        &self,
        setting: Setting,
        flag: Option<&str>,
        file: Option<&str>,
    ) -> Result<String, InvalidConfig> {
        const DEFAULT: &str = "127.0.0.1:12345";
        let chosen = self.choose(setting, flag, file.map(str::to_owned))?;
        let Some((source, text)) = chosen else { return Ok(DEFAULT.into()) };
        let valid = text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if valid {
            Ok(text)
        } else {
            let reason = format!("must be HOST:PORT with a port from 0 to 65535, not \"{text}\"");
            Err(InvalidConfig::new(source, reason))
        }
    }
}

fn level_of(source: String, level: String) -> Result<String, InvalidConfig> {
    match log::LevelFilter::from_str(&level) {
        Ok(level) => Ok(level.to_string()),
        Err(_) => {
            let reason = format!("must be off, error, warn, info, debug or trace, not \"{level}\"");
            Err(InvalidConfig::new(source, reason))
        }
    }
}

/// A setting that is not as it has to be: where it is from, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidConfig {
    source: String,
    reason: String,
}

impl InvalidConfig {
    fn new(source: String, reason: String) -> InvalidConfig {
        InvalidConfig { source, reason }
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.source, self.reason)
    }
}

impl std::error::Error for InvalidConfig {}
