//! The JSON options of a stream, by Spark's names (`JSONOptions` of Spark 4.0).
//!
//! Configuration comes in as text and leaves as one checked value. Three lists: options that change
//! what `from_json` gives, options that Spark takes but `from_json` does not look at, and those
//! refused. Names match in any case, as in Spark.

use std::collections::BTreeMap;

use crate::model::error::{Error, Result};

/// What happens to a record that Spark calls malformed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ParseMode {
    /// The row keeps what could be read of it.
    #[default]
    Permissive,
    /// The stream stops.
    FailFast,
    /// The row is left out and counted. Spark's `from_json` refuses this mode; its file sources, as
    /// we, take it.
    DropMalformed,
}

impl ParseMode {
    /// Every mode.
    pub const ALL: [ParseMode; 3] = [ParseMode::Permissive, ParseMode::FailFast, ParseMode::DropMalformed];

    /// Spark's word.
    pub fn as_str(self) -> &'static str {
        match self {
            ParseMode::Permissive => "PERMISSIVE",
            ParseMode::FailFast => "FAILFAST",
            ParseMode::DropMalformed => "DROPMALFORMED",
        }
    }
}

/// The checked options of one JSON decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonOptions {
    /// `mode`.
    pub mode: ParseMode,
    /// `columnNameOfCorruptRecord`: the column of type STRING that gets the text of malformed records.
    pub corrupt_record_column: String,
    /// `timeZone`, else the session's: the zone of timestamps that name none.
    pub time_zone: String,
    /// `locale`: a language tag; rules decimal strings and the names of months and days.
    pub locale: String,
    /// `timestampFormat`, a pattern of Java's `DateTimeFormatter`.
    pub timestamp_format: Option<String>,
    /// `timestampNTZFormat`.
    pub timestamp_ntz_format: Option<String>,
    /// `dateFormat`.
    pub date_format: Option<String>,
    /// `enableDateTimeParsingFallback`: whether texts that no pattern takes are tried as in Spark 2.
    pub datetime_fallback: Option<bool>,
    /// What the lexer takes beside strict JSON, and its limits.
    pub lexing: Lexing,
}

/// What the lexer takes beside strict JSON, and its limits (Jackson's `StreamReadConstraints`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lexing {
    /// `allowComments`: `/* */` and `//`.
    pub comments: bool,
    /// `allowUnquotedFieldNames`.
    pub unquoted_names: bool,
    /// `allowSingleQuotes`.
    pub single_quotes: bool,
    /// `allowNumericLeadingZeros`.
    pub leading_zeros: bool,
    /// `allowNonNumericNumbers`: NaN, Infinity, INF.
    pub non_numeric: bool,
    /// `allowBackslashEscapingAnyCharacter`.
    pub any_escape: bool,
    /// `allowUnquotedControlChars`: control characters as they are within strings.
    pub control_chars: bool,
    /// `maxNestingDepth`: levels, the outermost included.
    pub depth_max: usize,
    /// `maxNumLen`: digits of a number.
    pub number_digits_max: usize,
    /// `maxStringLen`: UTF-16 units of a string.
    pub string_units_max: usize,
}

impl Default for Lexing {
    fn default() -> Self {
        Lexing {
            comments: false,
            unquoted_names: false,
            single_quotes: true,
            leading_zeros: false,
            non_numeric: true,
            any_escape: false,
            control_chars: false,
            depth_max: 1000,
            number_digits_max: 1000,
            string_units_max: 20_000_000,
        }
    }
}

impl Default for JsonOptions {
    fn default() -> Self {
        JsonOptions {
            mode: ParseMode::default(),
            corrupt_record_column: "_corrupt_record".to_owned(),
            time_zone: "UTC".to_owned(),
            locale: "en-US".to_owned(),
            timestamp_format: None,
            timestamp_ntz_format: None,
            date_format: None,
            datetime_fallback: None,
            lexing: Lexing::default(),
        }
    }
}

/// Options that change what `from_json` gives, and what to know of each.
pub const HONOURED: &[(&str, &str)] = &[
    ("timestampFormat", "A Java pattern; absent: ISO 8601 as Spark reads it."),
    ("timestampNTZFormat", "The same for TIMESTAMP_NTZ."),
    ("dateFormat", "The same for DATE."),
    ("timeZone", "Of timestamps without one. Default: conf spark.sql.session.timeZone."),
    ("locale", "Of names of months and days in patterns. Default en-US."),
    ("allowSingleQuotes", "Default true."),
    ("allowUnquotedFieldNames", "Default false."),
    ("allowComments", "Default false."),
    ("allowNumericLeadingZeros", "Default false."),
    ("allowNonNumericNumbers", "Default true."),
    ("allowBackslashEscapingAnyCharacter", "Default false."),
    ("allowUnquotedControlChars", "Default false."),
    ("maxNestingDepth", "Default 1000."),
    ("maxNumLen", "Default 1000."),
    ("maxStringLen", "Default 20000000."),
    ("enableDateTimeParsingFallback", "Default: false with a pattern, else true."),
];

/// The same, for which the stream file has keys beside the schema.
const KEYS: &[(&str, &str)] = &[
    ("mode", "PERMISSIVE, FAILFAST or DROPMALFORMED"),
    ("columnNameOfCorruptRecord", "the STRING column that gets the text of malformed records"),
];

/// Options that Spark takes and that change nothing in `from_json`, and why.
pub const NO_EFFECT: &[(&str, &str)] = &[
    ("primitivesAsString", "it is for inferring schemas; the schema is given"),
    ("prefersDecimal", "it is for inferring schemas; the schema is given"),
    ("samplingRatio", "it is for inferring schemas; the schema is given"),
    ("dropFieldIfAllNull", "it is for inferring schemas; the schema is given"),
    ("inferTimestamp", "it is for inferring schemas; the schema is given"),
    ("lineSep", "a record is one value, whatever lines it has"),
    ("multiLine", "a record is one value, whatever lines it has"),
    ("charset", "values are read as UTF-8, as from_json does"),
    ("encoding", "values are read as UTF-8, as from_json does"),
    ("preferDate", "it is for inferring schemas; the schema is given"),
    ("useUnsafeRow", "it is a form of Spark's rows in memory"),
    ("compression", "it is for writing files"),
    ("ignoreNullFields", "it is for writing JSON"),
    ("pretty", "it is for writing JSON"),
    ("writeNonAsciiCharacterAsCodePoint", "it is for writing JSON"),
];

/// The charsets that Spark 4.0 takes for `encoding` (`CharsetProvider`).
const CHARSETS: &[&str] = &["us-ascii", "iso-8859-1", "utf-8", "utf-16be", "utf-16le", "utf-16", "utf-32"];

/// The codecs that Spark 4.0 takes for `compression` (`HadoopCompressionCodec`).
const CODECS: &[&str] = &["none", "uncompressed", "bzip2", "deflate", "gzip", "lz4", "snappy"];

impl JsonOptions {
    /// Reads options by Spark's names. Gives with them the names of those that have no effect, as
    /// they stand in [`NO_EFFECT`].
    ///
    /// # Errors
    /// `Config` for an unknown name (with the nearest known one) and for a value that Spark refuses.
    pub fn from_map(options: &BTreeMap<String, String>) -> Result<(JsonOptions, Vec<&'static str>)> {
        let mut read = JsonOptions::default();
        let mut without_effect = Vec::new();
        for (name, value) in options {
            let known = |list: &'static [(&'static str, &'static str)]| {
                list.iter().map(|(known, _)| *known).find(|known| known.eq_ignore_ascii_case(name))
            };
            if let Some(name) = known(HONOURED).or_else(|| known(KEYS)) {
                read.set(name, value)?;
            } else if let Some(name) = known(NO_EFFECT) {
                check_without_effect(name, value)?;
                without_effect.push(name);
            } else {
                return Err(unknown(name));
            }
        }
        Ok((read, without_effect))
    }

    fn set(&mut self, name: &'static str, value: &str) -> Result<()> {
        let text = || value.to_owned();
        match name {
            "allowBackslashEscapingAnyCharacter" => self.lexing.any_escape = boolean(name, value)?,
            "allowComments" => self.lexing.comments = boolean(name, value)?,
            "allowNonNumericNumbers" => self.lexing.non_numeric = boolean(name, value)?,
            "allowNumericLeadingZeros" => self.lexing.leading_zeros = boolean(name, value)?,
            "allowSingleQuotes" => self.lexing.single_quotes = boolean(name, value)?,
            "allowUnquotedControlChars" => self.lexing.control_chars = boolean(name, value)?,
            "allowUnquotedFieldNames" => self.lexing.unquoted_names = boolean(name, value)?,
            "columnNameOfCorruptRecord" => self.corrupt_record_column = text(),
            "dateFormat" => self.date_format = Some(text()),
            "enableDateTimeParsingFallback" => self.datetime_fallback = Some(boolean(name, value)?),
            "locale" => self.locale = text(),
            "maxNestingDepth" => self.lexing.depth_max = number(name, value)?,
            "maxNumLen" => self.lexing.number_digits_max = number(name, value)?,
            "maxStringLen" => self.lexing.string_units_max = number(name, value)?,
            "mode" => self.mode = mode(value),
            "timeZone" => self.time_zone = text(),
            "timestampFormat" => self.timestamp_format = Some(text()),
            "timestampNTZFormat" => self.timestamp_ntz_format = Some(text()),
            other => return Err(Error::internal(format!("the option {other} has no place"))),
        }
        Ok(())
    }
}

/// Spark's `ParseMode.fromString`: any other text is PERMISSIVE.
fn mode(value: &str) -> ParseMode {
    ParseMode::ALL.into_iter().find(|mode| mode.as_str().eq_ignore_ascii_case(value)).unwrap_or_default()
}

fn boolean(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Error::config(format!("JSON option {name} is {value:?}, expected true or false"))),
    }
}

fn number(name: &str, value: &str) -> Result<usize> {
    value
        .parse::<i32>()
        .ok()
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| Error::config(format!("JSON option {name} is {value:?}, expected a whole number")))
}

/// Refuses what Spark refuses of an option that changes nothing: it reads the value all the same.
fn check_without_effect(name: &'static str, value: &str) -> Result<()> {
    let refused = |what: &str| Error::config(format!("JSON option {name} is {value:?}, {what}"));
    match name {
        "charset" | "encoding" if !CHARSETS.contains(&value.to_ascii_lowercase().as_str()) => {
            Err(refused("which is not a charset that Spark takes")
                .hint(format!("one of {}", CHARSETS.join(", "))))
        }
        // Beside the short names Spark takes the name of a class.
        "compression" if !CODECS.contains(&value.to_ascii_lowercase().as_str()) && !value.contains('.') => {
            Err(refused("which is not a codec that Spark takes")
                .hint(format!("one of {}", CODECS.join(", "))))
        }
        "lineSep" if value.is_empty() => Err(refused("which Spark refuses").hint("leave it out")),
        "samplingRatio" if value.trim().parse::<f64>().is_err() => Err(refused("expected a number")),
        "charset" | "encoding" | "compression" | "lineSep" | "samplingRatio" | "preferDate" => Ok(()),
        _ => boolean(name, value).map(|_| ()),
    }
}

fn unknown(name: &str) -> Error {
    if name.eq_ignore_ascii_case("singleVariantColumn") {
        return Error::config(
            "JSON option singleVariantColumn needs the type VARIANT, which is not supported",
        )
        .hint("declare the columns, or one STRING");
    }
    let lower = name.to_ascii_lowercase();
    let known = HONOURED.iter().chain(KEYS).chain(NO_EFFECT).map(|(known, _)| *known);
    let nearest = known.min_by_key(|known| strsim::levenshtein(&known.to_ascii_lowercase(), &lower));
    let error = Error::config(format!("there is no JSON option {name}"));
    match nearest {
        Some(nearest) => error.hint(format!("did you mean {nearest}?")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(entries: &[(&str, &str)]) -> Result<(JsonOptions, Vec<&'static str>)> {
        let map = entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        JsonOptions::from_map(&map)
    }

    #[test]
    fn every_honoured_name_is_read_in_any_case() {
        for (name, _) in HONOURED.iter().chain(KEYS) {
            let value = match *name {
                "mode" => "failfast",
                name if name.starts_with("max") => "7",
                name if name.starts_with("allow") || name.starts_with("enable") => "TRUE",
                _ => "x",
            };
            let (options, without_effect) = read(&[(&name.to_uppercase(), value)]).unwrap();
            assert!(without_effect.is_empty());
            let same_as_default = ["allowSingleQuotes", "allowNonNumericNumbers"].contains(name);
            assert_eq!(options == JsonOptions::default(), same_as_default, "{name}");
        }
    }

    #[test]
    fn what_has_no_effect_is_named_and_what_is_unknown_is_refused() {
        let (options, without_effect) =
            read(&[("PRIMITIVESASSTRING", "TRUE"), ("encoding", "UTF-8")]).unwrap();
        assert_eq!(options, JsonOptions::default());
        assert_eq!(without_effect, ["primitivesAsString", "encoding"]);
        let error = read(&[("allowComment", "true")]).unwrap_err().to_string();
        assert!(error.contains("did you mean allowComments?"), "{error}");
        for bad in [("allowComments", "yes"), ("maxNumLen", "x"), ("charset", "nonsense")] {
            assert!(read(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn values_without_effect_are_refused_where_spark_refuses_them() {
        for bad in [
            ("lineSep", ""),
            ("samplingRatio", "true"),
            ("compression", "zip"),
            ("multiLine", "x"),
            ("primitivesAsString", ""),
            ("pretty", " true"),
        ] {
            assert!(read(&[bad]).is_err(), "{bad:?}");
        }
        for good in [
            ("lineSep", "x"),
            ("samplingRatio", "-1"),
            ("compression", "GZIP"),
            ("multiLine", "TRUE"),
            ("preferDate", "x"),
        ] {
            assert!(read(&[good]).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn an_unknown_mode_is_permissive_as_in_spark() {
        assert_eq!(read(&[("mode", "other")]).unwrap().0.mode, ParseMode::Permissive);
        assert_eq!(read(&[("mode", "DropMalformed")]).unwrap().0.mode, ParseMode::DropMalformed);
    }
}
