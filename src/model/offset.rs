//! A position in a source as everyone but the source sees it: canonical JSON.
//!
//! Spark's `Offset.json`. Only the source that made an offset interprets it (Kafka: the next offset of each
//! partition); everything else stores it, compares it and prints it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::error::{Error, Result};

/// What a source notes beside an offset, by key. Only the source interprets it; plans carry it.
pub type Notes = BTreeMap<String, String>;

/// A position in a source, as canonical JSON: the same position has the same text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Offset(Arc<str>);

impl Offset {
    /// Reads an offset of any source; the order of keys and spaces do not matter.
    ///
    /// # Errors
    /// `Config` if the text is not JSON, or is an array, which stands for the offsets of several sources.
    pub fn from_json(text: &str) -> Result<Offset> {
        let value: Value =
            serde_json::from_str(text).map_err(|e| Error::config("the offset is not JSON").source(e))?;
        if value.is_array() {
            return Err(Error::config("an offset is not a JSON array"));
        }
        Ok(Offset::of(value))
    }

    /// The offset that `value` states.
    pub fn of(value: Value) -> Offset {
        Offset(canonical(value).to_string().into())
    }

    /// The canonical JSON.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// The JSON as a value, for reports and commits.
    pub fn to_value(&self) -> Value {
        serde_json::from_str(&self.0).expect("an offset was made from JSON")
    }
}

/// Keys in order: numbers first and by value (partition 2 before 10), then texts.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<(String, Value)> = entries.into_iter().collect();
            entries.sort_by_cached_key(|(key, _)| {
                let number = key.parse::<i64>().ok();
                (number.is_none(), number, key.clone())
            });
            Value::Object(entries.into_iter().map(|(key, value)| (key, canonical(value))).collect())
        }
        other => other,
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One offset per source of a query, in the order of its sources: Spark's `OffsetSeq`. A source that has read
/// nothing yet may have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffsetSeq(pub Vec<Option<Offset>>);

impl OffsetSeq {
    /// The offsets of a query with one source.
    pub fn of(offset: Offset) -> OffsetSeq {
        OffsetSeq(vec![Some(offset)])
    }

    /// The offset of source `source`, counted from 0.
    pub fn get(&self, source: usize) -> Option<&Offset> {
        self.0.get(source)?.as_ref()
    }

    /// Whether both say the same wherever both say something: a partition that only one knows does not count.
    pub fn agrees_with(&self, other: &OffsetSeq) -> bool {
        let mut both = self.0.iter().zip(&other.0);
        self.0.len() == other.0.len()
            && both.all(|offsets| match offsets {
                (Some(a), Some(b)) => agree(&a.to_value(), &b.to_value()),
                _ => true,
            })
    }

    /// One JSON value: the offset itself where there is one source, else an array with `null` for none.
    pub fn to_value(&self) -> Value {
        let value = |offset: &Option<Offset>| offset.as_ref().map_or(Value::Null, Offset::to_value);
        match self.0.as_slice() {
            [one] => value(one),
            several => Value::Array(several.iter().map(value).collect()),
        }
    }

    /// Reads what [`OffsetSeq::to_value`] wrote.
    pub fn from_value(value: Value) -> OffsetSeq {
        let offset = |value: Value| (!value.is_null()).then(|| Offset::of(value));
        match value {
            Value::Array(several) => OffsetSeq(several.into_iter().map(offset).collect()),
            one => OffsetSeq(vec![offset(one)]),
        }
    }
}

fn agree(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, value)| b.get(key).is_none_or(|other| agree(value, other)))
        }
        (a, b) => a == b,
    }
}

impl fmt::Display for OffsetSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_value())
    }
}

impl Serialize for OffsetSeq {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OffsetSeq {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<OffsetSeq, D::Error> {
        Value::deserialize(deserializer).map(OffsetSeq::from_value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_position_has_the_same_text() {
        let one = Offset::from_json(r#"{"t": {"10": 7, "2": 105}, "a": {"0": 1}}"#).unwrap();
        assert_eq!(one.as_json(), r#"{"a":{"0":1},"t":{"2":105,"10":7}}"#);
        assert_eq!(Offset::from_json(one.as_json()).unwrap(), one);
        assert_eq!(Offset::from_json(" 17 ").unwrap().as_json(), "17");
        assert!(Offset::from_json("[1]").is_err() && Offset::from_json("{").is_err());
    }

    #[test]
    fn one_source_is_its_offset_and_several_are_an_array() {
        let one = OffsetSeq::of(Offset::from_json("17").unwrap());
        assert_eq!(one.to_value(), serde_json::json!(17));
        let two = OffsetSeq(vec![Some(Offset::from_json(r#"{"t":{"0":1}}"#).unwrap()), None]);
        assert_eq!(two.to_string(), r#"[{"t":{"0":1}},null]"#);
        for offsets in [one, two] {
            assert_eq!(OffsetSeq::from_value(offsets.to_value()), offsets);
        }
        let at = |text| OffsetSeq::of(Offset::from_json(text).unwrap());
        assert!(at(r#"{"t":{"0":1,"1":5}}"#).agrees_with(&at(r#"{"t":{"0":1},"u":{"0":9}}"#)));
        assert!(!at(r#"{"t":{"0":1}}"#).agrees_with(&at(r#"{"t":{"0":2}}"#)));
    }
}
