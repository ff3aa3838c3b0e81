//! The table of settings. A row holds everything about one setting: the arguments, the help and the checks are made
//! from it.

use crate::bet::{AGENCIES_MAX, NUMBER_MAX};
use std::ffi::OsString;

const TIME_MAX_MS: u64 = 24 * 60 * 60 * 1000;

/// The programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The central office.
    Server,
    /// The agencies.
    Client,
}

/// A setting: its names, its kind, its default and its purpose.
#[derive(Debug)]
pub struct Setting {
    /// The programs that use it.
    pub programs: &'static [Program],
    /// Its place in `config.toml`, `SECTION.KEY`.
    pub key: &'static str,
    /// Its variable.
    pub variable: &'static str,
    /// Its flag, with the name of its value: `--agencies N`. Empty if it has none.
    pub flag: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its value if it is not given.
    pub default: Fallback,
    /// Its purpose, for the help.
    pub sentence: &'static str,
}

/// The value of a setting that is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This value.
    Value(&'static str),
    /// No value. The help and the log call that by this name.
    Nothing(&'static str),
}

impl Fallback {
    /// Returns the value, or the name of none.
    pub fn text(self) -> &'static str {
        match self {
            Fallback::Value(text) | Fallback::Nothing(text) => text,
        }
    }
}

/// The values that a setting may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// True or false.
    Switch,
    /// A file or a directory.
    Path,
    /// `HOST:PORT`, with this port or a higher one. The host is looked up later.
    Address(u16),
    /// A level of the log.
    Level,
}

const SERVER: &[Program] = &[Program::Server];
const CLIENT: &[Program] = &[Program::Client];
const BOTH: &[Program] = &[Program::Server, Program::Client];
const MILLISECONDS: Kind = Kind::Number(1, TIME_MAX_MS);
const MILLISECONDS_OR_NONE: Kind = Kind::Number(0, TIME_MAX_MS);
use Fallback::{Nothing, Value};
use Kind::{Address, Level, Number, Path, Switch};

/// Makes a constant of each row, and [`SETTINGS`] of all.
macro_rules! settings {
    ($($name:ident: $programs:expr, $key:literal, $variable:literal, $flag:literal, $kind:expr,
        $default:expr, $sentence:literal;)+) => {
        $(pub(super) const $name: Setting = Setting {
            programs: $programs,
            key: $key,
            variable: $variable,
            flag: $flag,
            kind: $kind,
            default: $default,
            sentence: $sentence,
        };)+

        /// All settings, in the order of `config.toml`.
        pub const SETTINGS: &[Setting] = &[$($name),+];
    };
}

settings! {
    AGENCIES: SERVER, "lottery.agencies", "AGENCIES", "--agencies N",
        Number(1, AGENCIES_MAX as u64), Value("5"), "Number of agencies";
    WINNING_NUMBER: SERVER, "lottery.winning_number", "WINNING_NUMBER", "--winning-number N",
        Number(0, NUMBER_MAX as u64), Value("7574"), "Winning number";
    ADDRESS: SERVER, "server.address", "SERVER_ADDRESS", "--address HOST:PORT",
        Address(0), Value("127.0.0.1:12345"), "Address to listen on";
    MAX_CONNECTIONS: SERVER, "server.max_connections", "SERVER_MAX_CONNECTIONS", "",
        Number(1, 65_535), Value("1024"), "Connection limit";
    MESSAGE_TIMEOUT: SERVER, "server.message_timeout_ms", "SERVER_MESSAGE_TIMEOUT_MS", "",
        MILLISECONDS, Value("60000"), "Milliseconds for a peer to complete a message or take a reply";
    NEWCOMER_TIMEOUT: SERVER, "server.newcomer_timeout_ms", "SERVER_NEWCOMER_TIMEOUT_MS", "",
        MILLISECONDS, Value("10000"), "Milliseconds for a new connection to name its agency";
    EXIT_AFTER_DRAW: SERVER, "server.exit_after_draw", "SERVER_EXIT_AFTER_DRAW", "--exit-after-draw",
        Switch, Value("false"), "Stop when every agency has been told its winners";
    BETS: SERVER, "storage.bets", "BETS_FILE", "--bets FILE",
        Path, Value("bets.csv"), "File of the bets";
    DRAW: SERVER, "storage.draw", "DRAW_FILE", "--draw FILE",
        Path, Value("sorteo.toml"), "File of the draw's result";
    ID: CLIENT, "client.id", "CLI_ID", "--agency N",
        Number(1, AGENCIES_MAX as u64), Nothing("all"), "Agency";
    SERVER_ADDRESS: CLIENT, "client.server_address", "CLI_SERVER_ADDRESS", "--server HOST:PORT",
        Address(1), Value("127.0.0.1:12345"), "Address of the server";
    AGENCIES_DIR: CLIENT, "client.agencies_dir", "CLI_AGENCIES_DIR", "",
        Path, Value("agencies"), "Directory of agency-1.csv, agency-2.csv and so on";
    BATCH_MAX_AMOUNT: CLIENT, "client.batch_max_amount", "CLI_BATCH_MAX_AMOUNT", "--batch-max-amount N",
        Number(1, 1_000_000), Value("120"), "Most bets in a batch";
    BATCH_PERIOD: CLIENT, "client.batch_period_ms", "CLI_BATCH_PERIOD_MS", "",
        MILLISECONDS_OR_NONE, Value("0"), "Milliseconds of pause between batches";
    WINDOW: CLIENT, "client.window", "CLI_WINDOW", "",
        Number(1, 4096), Value("256"), "Most batches in flight without a confirmation";
    RESUME: CLIENT, "client.resume", "CLI_RESUME", "",
        Switch, Value("true"), "Continue after the stored bets; false for servers without REANUDAR";
    REPLY_TIMEOUT: CLIENT, "client.reply_timeout_ms", "CLI_REPLY_TIMEOUT_MS", "",
        MILLISECONDS, Value("30000"), "Milliseconds to wait for a confirmation";
    RETRY_FOR: CLIENT, "client.retry_for_ms", "CLI_RETRY_FOR_MS", "",
        MILLISECONDS_OR_NONE, Value("60000"), "Milliseconds to retry without progress";
    TLS_CERTIFICATE: BOTH, "tls.certificate", "TLS_CERTIFICATE", "",
        Path, Nothing("none"), "Certificate of the program, in PEM";
    TLS_KEY: BOTH, "tls.key", "TLS_KEY", "",
        Path, Nothing("none"), "Private key of the certificate, in PEM";
    TLS_AUTHORITY: BOTH, "tls.authority", "TLS_AUTHORITY", "",
        Path, Nothing("none"), "Trusted CA certificates, in PEM";
    TLS_REVOKED: SERVER, "tls.revoked", "TLS_REVOKED", "",
        Path, Nothing("none"), "List of revoked certificates, in PEM";
    LOG_LEVEL: BOTH, "log.level", "LOG_LEVEL", "--log-level L",
        Level, Value("info"), "Level of the log: off, error, warn, info, debug or trace";
}

impl Setting {
    /// Returns its flag without dashes, and the name of its value, if it takes one.
    pub fn split_flag(&self) -> Option<(&'static str, Option<&'static str>)> {
        let flag = self.flag.strip_prefix("--")?;
        Some(flag.split_once(' ').map_or((flag, None), |(flag, value)| (flag, Some(value))))
    }

    /// Returns its name in the log: the last part of its key.
    pub(super) fn shown(&self) -> &'static str {
        match self.key.split_once('.') {
            Some(("client", "id")) => "client_id",
            Some((_, key)) => key,
            None => self.key,
        }
    }
}

impl Kind {
    /// Returns `given` in the canonical form of this kind.
    ///
    /// # Errors
    ///
    /// The rule that it breaks.
    pub(super) fn normal(self, given: OsString) -> Result<OsString, String> {
        let text = match given.into_string() {
            Err(path) if self == Path => return Ok(path),
            text => text.map_err(|_| "must be UTF-8".to_owned())?,
        };
        let normal = match self {
            Number(least, most) => {
                let number = text.parse().ok().filter(|number| (least..=most).contains(number));
                number.map(|number: u64| number.to_string())
            }
            Switch => text.parse().ok().map(|switch: bool| switch.to_string()),
            Address(least) => {
                let parts = text.rsplit_once(':');
                let is_valid = |(host, port): (&str, &str)| {
                    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port >= least)
                };
                parts.is_some_and(is_valid).then(|| text.clone())
            }
            Level => {
                let level = text.parse::<log::LevelFilter>().ok();
                level.map(|level| level.to_string().to_lowercase())
            }
            Path => Some(text.clone()).filter(|path| !path.is_empty()),
        };
        normal.map(OsString::from).ok_or_else(|| format!("{}, not \"{text}\"", self.rule()))
    }

    /// Returns the rule for its values.
    pub(super) fn rule(self) -> String {
        match self {
            Number(least, most) => format!("must be a number from {least} to {most}"),
            Switch => "must be true or false".into(),
            Path => "must name a file or a directory".into(),
            Address(least) => format!("must be HOST:PORT with a port from {least} to 65535"),
            Level => "must be off, error, warn, info, debug or trace".into(),
        }
    }
}

/// Returns the names of `given` that look like a variable of `program` and are none, each with the
/// variable that it resembles, if there is one.
pub fn misspelled(
    program: Program,
    given: impl Iterator<Item = OsString>,
) -> Vec<(String, Option<&'static str>)> {
    let known = || SETTINGS.iter().map(|setting| setting.variable);
    let own = || SETTINGS.iter().filter(|setting| setting.programs.contains(&program));
    let mut misspelled = Vec::new();
    for name in given.filter_map(|name| name.into_string().ok()) {
        if known().any(|variable| variable == name) {
            continue;
        }
        let distances = own().map(|setting| (distance(&name, setting.variable), setting.variable));
        let Some((distance, variable)) = distances.min() else { continue };
        // No other program is known to use the prefix CLI_. Others do use SERVER_.
        let has_prefix = program == Program::Client && name.starts_with("CLI_");
        let resembled = (distance <= variable.len() / 5).then_some(variable);
        if has_prefix || resembled.is_some() {
            misspelled.push((name, resembled));
        }
    }
    misspelled
}

/// Returns the edit distance: the number of letters to add, remove or change to turn one text into the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (place, letter) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = place + 1;
        for (column, wanted) in other.bytes().enumerate() {
            let changed = diagonal + usize::from(letter != wanted);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::{Fallback, Program, SETTINGS, misspelled};
    use std::ffi::OsString;

    #[test]
    fn each_default_is_valid_and_no_two_settings_share_a_name() {
        for (place, setting) in SETTINGS.iter().enumerate() {
            if let Fallback::Value(text) = setting.default {
                assert_eq!(setting.kind.normal(text.into()), Ok(text.into()), "{}", setting.key);
            }
            for other in &SETTINGS[..place] {
                assert_ne!(setting.key, other.key);
                assert_ne!(setting.variable, other.variable);
                assert!(setting.flag.is_empty() || setting.flag != other.flag);
            }
        }
    }

    #[test]
    fn a_variable_that_resembles_one_and_is_none_is_found() {
        let found = |program, name: &str| {
            let found = misspelled(program, [OsString::from(name)].into_iter());
            found.first().map(|(_, variable)| *variable)
        };
        let (server, client) = (Program::Server, Program::Client);
        assert_eq!(found(server, "SERVER_ADRESS"), Some(Some("SERVER_ADDRESS")));
        assert_eq!(found(server, "AGENCIE"), Some(Some("AGENCIES")));
        assert_eq!(found(client, "CLI_WINDOWS"), Some(Some("CLI_WINDOW")));
        assert_eq!(found(client, "CLI_AGENCY"), Some(None));
        assert_eq!(found(client, "CLI_BATCH_AMOUNT"), Some(Some("CLI_BATCH_MAX_AMOUNT")));
        for name in ["SERVER_ADDRESS", "CLI_ID", "SERVER_PORT", "PATH", "TLS_CA", "LOGNAME", ""] {
            assert_eq!(found(server, name), None, "{name}");
        }
        assert_eq!(found(client, "SERVER_ADRESS"), None);
    }
}
