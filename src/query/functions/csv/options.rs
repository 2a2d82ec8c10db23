//! The options of CSV, by Spark's names in any case (`CSVOptions`).

use std::collections::BTreeMap;

use datafusion::common::Result;

use super::record::Format;
use crate::decode::datetime::{FormatOptions, Formats};
use crate::query::coerce::types::refused;
use crate::query::conf::Conf;
use crate::query::functions::time::MomentWriters;

/// Options as they were given, the names in lower case.
pub(super) struct Given(BTreeMap<String, String>);

impl Given {
    /// The options of a call of `function`, which knows those of `known`.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH` for another one.
    pub(super) fn new(options: &BTreeMap<String, String>, function: &str, known: &[&str]) -> Result<Given> {
        if let Some(name) = options.keys().find(|name| !known.contains(&name.to_lowercase().as_str())) {
            return Err(refused("DATATYPE_MISMATCH", format!("{function}: the option {name} is not known")));
        }
        Ok(Given(options.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect()))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn text_or(&self, name: &str, default: &str) -> String {
        self.text(name).unwrap_or(default).to_owned()
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.text(name).map(str::to_lowercase).as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(refused("DATATYPE_MISMATCH", format!("the option {name} is true or false"))),
        }
    }

    /// How dates and moments are written.
    pub(super) fn moments(&self, conf: &Conf) -> Result<MomentWriters> {
        MomentWriters::new(&self.0, &conf.zone_id)
    }

    /// One character; `\0` for none.
    pub(super) fn character(&self, name: &str, default: char) -> Result<char> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let mut letters = text.chars();
        match (letters.next(), letters.next()) {
            (None, _) => Ok('\0'),
            (Some(one), None) => Ok(one),
            _ => Err(refused("DATATYPE_MISMATCH", format!("the option {name} is one character"))),
        }
    }

    /// `sep` or `delimiter`; `\t` and its kin may be written out.
    pub(super) fn separator(&self) -> Result<String> {
        let text = self.text("sep").or_else(|| self.text("delimiter")).unwrap_or(",");
        Ok(match text {
            "" => return Err(refused("INVALID_DELIMITER_VALUE.NULL_VALUE", "sep is empty")),
            "\\" => return Err(refused("INVALID_DELIMITER_VALUE.SINGLE_BACKSLASH", "sep is one backslash")),
            "\\t" => "\t".to_owned(),
            "\\r" => "\r".to_owned(),
            "\\b" => "\u{8}".to_owned(),
            "\\f" => "\u{c}".to_owned(),
            "\\\"" => "\"".to_owned(),
            "\\'" => "'".to_owned(),
            "\\\\" => "\\".to_owned(),
            text => text.to_owned(),
        })
    }
}

/// How `from_csv` reads.
pub(super) struct ReadOptions {
    pub(super) format: Format,
    pub(super) null_value: String,
    pub(super) empty_value: String,
    pub(super) nan: String,
    pub(super) positive: String,
    pub(super) negative: String,
    /// `mode` FAILFAST.
    pub(super) fails: bool,
    /// The column of corrupt records.
    pub(super) corrupt: String,
    pub(super) moments: Formats,
    pub(super) has_date_format: bool,
}

const READ: [&str; 20] = [
    "sep",
    "delimiter",
    "quote",
    "escape",
    "comment",
    "header",
    "mode",
    "columnnameofcorruptrecord",
    "nullvalue",
    "emptyvalue",
    "nanvalue",
    "positiveinf",
    "negativeinf",
    "dateformat",
    "timestampformat",
    "timestampntzformat",
    "timezone",
    "locale",
    "ignoreleadingwhitespace",
    "ignoretrailingwhitespace",
];

impl ReadOptions {
    pub(super) fn of(options: &BTreeMap<String, String>, conf: &Conf) -> Result<ReadOptions> {
        let given = Given::new(options, "from_csv", &READ)?;
        let mode = given.text_or("mode", "PERMISSIVE").to_uppercase();
        if mode == "DROPMALFORMED" {
            return Err(refused(
                "PARSE_MODE_UNSUPPORTED",
                "from_csv takes the modes PERMISSIVE and FAILFAST",
            ));
        }
        let moments = Formats::new(&FormatOptions {
            timestamp_format: given.text("timestampformat"),
            timestamp_ntz_format: given.text("timestampntzformat"),
            date_format: given.text("dateformat"),
            time_zone: Some(given.text("timezone").unwrap_or(&conf.zone_id)),
            locale: given.text("locale"),
            fallback: None,
        });
        Ok(ReadOptions {
            format: Format {
                separator: given.separator()?,
                quote: given.character("quote", '"')?,
                escape: given.character("escape", '\\')?,
                comment: given.character("comment", '\0')?,
                trims_left: given.flag("ignoreleadingwhitespace", false)?,
                trims_right: given.flag("ignoretrailingwhitespace", false)?,
            },
            null_value: given.text_or("nullvalue", ""),
            empty_value: given.text_or("emptyvalue", ""),
            nan: given.text_or("nanvalue", "NaN"),
            positive: given.text_or("positiveinf", "Inf"),
            negative: given.text_or("negativeinf", "-Inf"),
            fails: mode == "FAILFAST",
            corrupt: given.text_or("columnnameofcorruptrecord", "_corrupt_record"),
            moments: moments.map_err(|error| refused("DATATYPE_MISMATCH", error.message().to_owned()))?,
            has_date_format: given.text("dateformat").is_some(),
        })
    }
}
