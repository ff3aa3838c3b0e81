//! Parses `config.toml`.

use super::table::{Kind, SETTINGS, Setting};
use std::ffi::OsString;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The settings of the file, by their keys.
#[derive(Debug, Default)]
pub(super) struct File(Vec<(&'static str, String)>);

/// An error in a file: its offset in the text, and the reason.
type Wrong = (usize, String);

impl File {
    /// Parses the settings in `text`.
    ///
    /// # Errors
    ///
    /// The line of the first error, from 1, and the reason.
    pub(super) fn parse(text: &str) -> Result<File, (usize, String)> {
        let in_line = |(offset, reason): Wrong| {
            let before = text.get(..offset).unwrap_or("");
            (before.matches('\n').count() + 1, reason)
        };
        let table = DeTable::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            in_line((offset, error.message().replace('\n', " ")))
        })?;
        let (mut given, mut wrong) = (Vec::new(), Vec::new());
        for (section, content) in table.get_ref() {
            let name = section.get_ref();
            if !SETTINGS.iter().any(|setting| setting.key.split('.').next() == Some(name)) {
                wrong.push((section.span().start, format!("unknown section {name}")));
            } else if let DeValue::Table(settings) = content.get_ref() {
                for (key, value) in settings {
                    match setting(&format!("{name}.{}", key.get_ref()), key, value) {
                        Ok(setting) => given.push(setting),
                        Err(one) => wrong.push(one),
                    }
                }
            } else {
                wrong.push((content.span().start, format!("{name}: must be a section")));
            }
        }
        wrong.into_iter().min().map_or(Ok(File(given)), |first| Err(in_line(first)))
    }

    /// Returns the text of a setting. Returns `None` if the file does not give it.
    pub(super) fn get(&self, setting: &Setting) -> Option<OsString> {
        let given = self.0.iter().find(|(key, _)| *key == setting.key);
        given.map(|(_, text)| text.into())
    }
}

/// Returns a setting of the file with its text, if it has the type of its kind.
fn setting(
    name: &str,
    key: &Spanned<toml::de::DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(&'static str, String), Wrong> {
    let known = SETTINGS.iter().find(|setting| setting.key == name);
    let Setting { key, kind, .. } =
        known.ok_or_else(|| (key.span().start, format!("unknown key {name}")))?;
    let text = match (kind, value.get_ref()) {
        (Kind::Number(..), DeValue::Integer(number)) => {
            match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Some(number.to_string()),
                Err(_) => Some(number.as_str().to_owned()),
            }
        }
        (Kind::Switch, DeValue::Boolean(switch)) => Some(switch.to_string()),
        (Kind::Path | Kind::Address | Kind::Level, DeValue::String(text)) => Some(text.to_string()),
        _ => None,
    };
    text.map(|text| (*key, text)).ok_or_else(|| {
        let given = match value.get_ref() {
            DeValue::String(text) => format!("\"{text}\""),
            other => format!("a value of the type {}", other.type_str()),
        };
        (value.span().start, format!("{key}: {}, not {given}", kind.rule()))
    })
}
