//! What can stand in `config.toml`.

use serde::Deserialize;
use std::path::PathBuf;

/// The whole file; everything in it may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) lottery: Lottery,
    pub(super) server: Server,
    pub(super) storage: Storage,
    pub(super) client: Client,
    pub(super) tls: Tls,
    pub(super) log: Log,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Lottery {
    pub(super) agencies: Option<i64>,
    pub(super) winning_number: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Server {
    pub(super) address: Option<String>,
    pub(super) max_connections: Option<i64>,
    pub(super) message_timeout_ms: Option<i64>,
    pub(super) exit_after_draw: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Storage {
    pub(super) bets: Option<PathBuf>,
    pub(super) draw: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Client {
    pub(super) server_address: Option<String>,
    pub(super) id: Option<i64>,
    pub(super) agencies_dir: Option<PathBuf>,
    pub(super) batch_max_amount: Option<i64>,
    pub(super) batch_period_ms: Option<i64>,
    pub(super) window: Option<i64>,
    pub(super) resume: Option<bool>,
    pub(super) reply_timeout_ms: Option<i64>,
    pub(super) retry_for_ms: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) authority: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    pub(super) level: Option<String>,
}

impl File {
    /// The settings in `text`.
    ///
    /// # Errors
    ///
    /// The line, from 1, at which it is not what it should be, and why.
    pub(super) fn parse(text: &str) -> Result<File, (usize, String)> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
            let line = before.matches('\n').count() + 1;
            (line, error.message().replace('\n', " "))
        })
    }
}
