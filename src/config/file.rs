//! Parses `config.toml`.

use super::table::{Kind, SETTINGS, Setting};
use std::collections::HashMap;
use std::ffi::OsString;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// An error in a file: its offset in the text, and the reason.
type Wrong = (usize, String);

/// Parses the settings in `text`, by their keys. Those of the other program are checked too.
///
/// # Errors
///
/// The line of the first error, from 1, and the reason.
pub(super) fn parse(text: &str) -> Result<HashMap<&'static str, OsString>, (usize, String)> {
    let in_line = |(offset, reason): Wrong| {
        let before = text.get(..offset).unwrap_or("");
        (before.matches('\n').count() + 1, reason)
    };
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        in_line((offset, error.message().replace('\n', " ")))
    })?;
    let (mut given, mut wrong) = (HashMap::new(), Vec::new());
    for (section, content) in table.get_ref() {
        let name = section.get_ref();
        if !SETTINGS.iter().any(|setting| setting.key.split('.').next() == Some(name)) {
            wrong.push((section.span().start, format!("unknown key or section {name}")));
        } else if let DeValue::Table(settings) = content.get_ref() {
            for (key, value) in settings {
                match setting(&format!("{name}.{}", key.get_ref()), key, value) {
                    Ok((key, text)) => drop(given.insert(key, text)),
                    Err(one) => wrong.push(one),
                }
            }
        } else {
            wrong.push((content.span().start, format!("{name}: must be a section")));
        }
    }
    wrong.into_iter().min().map_or(Ok(given), |first| Err(in_line(first)))
}

/// Returns a setting of the file with its text in canonical form.
fn setting(
    name: &str,
    key: &Spanned<toml::de::DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(&'static str, OsString), Wrong> {
    let known = SETTINGS.iter().find(|setting| setting.key == name);
    let Setting { key, kind, .. } =
        known.ok_or_else(|| (key.span().start, format!("unknown key {name}")))?;
    let text = match (kind, value.get_ref()) {
        (Kind::Number(..), DeValue::Integer(number)) => {
            let decimal = i128::from_str_radix(number.as_str(), number.radix());
            Ok(decimal.map_or(number.to_string(), |decimal| decimal.to_string()))
        }
        (Kind::Switch, DeValue::Boolean(switch)) => Ok(switch.to_string()),
        (Kind::Path | Kind::Address(_) | Kind::Level, DeValue::String(text)) => {
            Ok(text.to_string())
        }
        (_, DeValue::String(text)) => {
            let is_quoted = kind.normal(text.as_ref().into()).is_ok();
            let quotes = if is_quoted { " without quotes" } else { "" };
            Err(format!("{}{quotes}, not \"{text}\"", kind.rule()))
        }
        (_, other) => Err(format!("{}, not a value of the type {}", kind.rule(), other.type_str())),
    };
    let normal = text.and_then(|text| kind.normal(text.into()));
    normal.map(|text| (*key, text)).map_err(|why| (value.span().start, format!("{key}: {why}")))
}
