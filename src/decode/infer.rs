//! A schema out of samples: Spark's inference of JSON (`JsonInferSchema` with default options), and one
//! rule of our own for timestamps.
//!
//! Whole numbers are BIGINT (those beyond it DECIMAL, beyond 38 digits DOUBLE), numbers with a point or an
//! exponent DOUBLE, texts STRING, objects STRUCT, arrays ARRAY; null alone is STRING. Types that differ
//! widen: numbers to the wider one, all else to STRING, which holds any JSON as text. Fields stand in the
//! order of their names. Where a name comes twice in an object, both values count. Empty objects have no columns and are
//! left out.
//!
//! Unlike Spark, whose `inferTimestamp` is off, a text field becomes TIMESTAMP if every value of it in the
//! sample is an ISO 8601 instant: date, `T`, time to the second with six digits of a fraction at most,
//! and a zone. Nothing of such a value is lost. Texts without a zone stay STRING.

mod mixed;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::datetime::{Zone, cast};
use super::schema::{DataType, StructField, StructType};

pub use self::mixed::MixedColumn;
use self::mixed::{MixedColumns, note_mixed};

/// Levels of nesting that are looked into.
const DEPTH_MAX: usize = 64;

/// What the samples of one place have in common.
#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Null,
    Boolean,
    Long,
    Decimal { precision: u8, scale: u8 },
    Double,
    Instant,
    Text,
    Array(Box<Kind>),
    Object(BTreeMap<String, Kind>),
}

/// Looks at messages one by one.
#[derive(Debug, Default)]
pub struct Inference {
    root: BTreeMap<String, Kind>,
    objects: u64,
    others: u64,
    mixed: MixedColumns,
}

impl Inference {
    /// Adds a message. Returns whether it is a JSON object; others are counted only, an array of objects too: a stream would
    /// reject it.
    pub fn add(&mut self, message: &[u8]) -> bool {
        let text = String::from_utf8_lossy(message);
        let kind = serde_json::from_str::<&RawValue>(&text).ok().and_then(|raw| kind_of(raw, 0));
        let Some(Kind::Object(fields)) = kind else {
            self.others += 1;
            return false;
        };
        self.objects += 1;
        note_mixed(&self.root, &fields, self.objects + self.others, &mut self.mixed);
        merge_fields(&mut self.root, fields);
        true
    }

    /// Messages that shaped the schema.
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// Messages that are no JSON objects.
    pub fn others(&self) -> u64 {
        self.others
    }

    /// The columns that are STRING because their values differ in type, in the order in which they were seen.
    pub fn mixed(&self) -> &[MixedColumn] {
        &self.mixed.found
    }

    /// Makes the column `path` (dotted) a STRING, which holds whatever is there; whether there is such a
    /// column that was none.
    pub fn declare_text(&mut self, path: &str) -> bool {
        declare_text(&mut self.root, path)
    }

    /// The schema of all messages so far.
    pub fn schema(&self) -> StructType {
        columns(&self.root)
    }

    /// The dotted names of the columns that became TIMESTAMP.
    pub fn timestamps(&self) -> Vec<String> {
        let mut found = Vec::new();
        let root = Kind::Object(self.root.clone());
        instants(&root, "", &mut found);
        found
    }

    /// Columns whose names differ only in case: no Delta table holds both.
    pub fn same_but_case(&self) -> Vec<(String, String)> {
        let mut first: HashMap<String, &String> = HashMap::with_capacity(self.root.len());
        let mut pairs = Vec::new();
        for name in self.root.keys() {
            match first.entry(name.to_lowercase()) {
                Entry::Vacant(entry) => drop(entry.insert(name)),
                Entry::Occupied(entry) => pairs.push(((*entry.get()).clone(), name.clone())),
            }
        }
        pairs
    }
}

fn instants(kind: &Kind, path: &str, found: &mut Vec<String>) {
    match kind {
        Kind::Instant => found.push(path.to_owned()),
        Kind::Array(element) => instants(element, path, found),
        Kind::Object(fields) => {
            for (name, kind) in fields {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                instants(kind, &inner, found);
            }
        }
        _ => {}
    }
}

fn declare_text(fields: &mut BTreeMap<String, Kind>, path: &str) -> bool {
    let names: Vec<String> = fields.keys().cloned().collect();
    for name in names {
        let Some(kind) = fields.get_mut(&name) else { continue };
        let Some(rest) = path.strip_prefix(name.as_str()) else { continue };
        if let (Kind::Object(inner), Some(rest)) = (&mut *kind, rest.strip_prefix('.')) {
            if declare_text(inner, rest) {
                return true;
            }
        } else if rest.is_empty() || rest.starts_with('.') {
            let changed = *kind != Kind::Text;
            *kind = Kind::Text;
            return changed;
        }
    }
    false
}

/// The kind of a value; `None` if it is nested too deep.
fn kind_of(raw: &RawValue, depth: usize) -> Option<Kind> {
    let text = raw.get();
    Some(match text.as_bytes().first()? {
        _ if depth > DEPTH_MAX => return None,
        b'{' => {
            let mut fields = BTreeMap::new();
            for (name, value) in serde_json::from_str::<Entries<'_>>(text).ok()?.0 {
                merge_field(&mut fields, name, kind_of(value, depth + 1)?);
            }
            Kind::Object(fields)
        }
        b'[' => {
            let mut all = Kind::Null;
            for element in serde_json::from_str::<Vec<&RawValue>>(text).ok()? {
                all = merge(all, kind_of(element, depth + 1)?);
            }
            Kind::Array(Box::new(all))
        }
        b'"' => {
            if is_instant(&text[1..text.len() - 1]) {
                Kind::Instant
            } else {
                Kind::Text
            }
        }
        b't' | b'f' => Kind::Boolean,
        b'n' => Kind::Null,
        _ => number(text),
    })
}

/// The entries of an object as they stand there.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries<'de>, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = object.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(All)
    }
}

fn number(text: &str) -> Kind {
    let digits = text.trim_start_matches('-').len();
    if text.contains(['.', 'e', 'E']) {
        Kind::Double
    } else if text.parse::<i64>().is_ok() {
        Kind::Long
    } else {
        u8::try_from(digits)
            .ok()
            .filter(|d| *d <= 38)
            .map_or(Kind::Double, |precision| Kind::Decimal { precision, scale: 0 })
    }
}

/// Whether a text is `2026-11-21T03:04:05.678901Z`, with less of a fraction or none, and any offset.
fn is_instant(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = |at: usize, shape: &str| {
        bytes.len() >= at + shape.len()
            && bytes[at..]
                .iter()
                .zip(shape.bytes())
                .all(|(b, s)| if s == b'0' { b.is_ascii_digit() } else { *b == s })
    };
    if !shape(0, "0000-00-00T00:00:00") {
        return false;
    }
    let behind = &text[19..];
    let zone = match behind.strip_prefix('.') {
        None => behind,
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=6).contains(&digits) {
                return false;
            }
            &rest[digits..]
        }
    };
    let offset = |zone: &str| {
        let b = zone.as_bytes();
        b.len() == 6
            && b[0].is_ascii_punctuation()
            && b[3] == b':'
            && [1, 2, 4, 5].iter().all(|at| b[*at].is_ascii_digit())
    };
    let zoned = zone == "Z" || (zone.starts_with(['+', '-']) && offset(zone));
    // What the decoder would refuse, such as a leap second, is none.
    zoned && cast::timestamp_micros(text.as_bytes(), &Zone::UTC, 0).is_some()
}

fn merge_fields(into: &mut BTreeMap<String, Kind>, fields: BTreeMap<String, Kind>) {
    for (name, kind) in fields {
        merge_field(into, name, kind);
    }
}

fn merge_field(into: &mut BTreeMap<String, Kind>, name: String, kind: Kind) {
    let merged = match into.remove(&name) {
        None => kind,
        Some(there) => merge(there, kind),
    };
    into.insert(name, merged);
}

/// The narrowest type that holds both (`JsonInferSchema.compatibleType`).
fn merge(a: Kind, b: Kind) -> Kind {
    /// The digits of a BIGINT.
    const LONG: (u8, u8) = (20, 0);
    match (a, b) {
        (a, b) if a == b => a,
        (Kind::Null, other) | (other, Kind::Null) => other,
        (Kind::Long | Kind::Decimal { .. } | Kind::Double, Kind::Double)
        | (Kind::Double, Kind::Long | Kind::Decimal { .. }) => Kind::Double,
        (Kind::Decimal { precision, scale }, Kind::Long)
        | (Kind::Long, Kind::Decimal { precision, scale }) => wider((precision, scale), LONG),
        (Kind::Decimal { precision: p, scale: s }, Kind::Decimal { precision, scale }) => {
            wider((p, s), (precision, scale))
        }
        (Kind::Array(a), Kind::Array(b)) => Kind::Array(Box::new(merge(*a, *b))),
        (Kind::Object(mut a), Kind::Object(b)) => {
            merge_fields(&mut a, b);
            Kind::Object(a)
        }
        _ => Kind::Text,
    }
}

/// Whether only STRING holds values of both kinds, of which not both are texts. What is inside objects and arrays is not
/// looked at.
fn widens_to_text(a: &Kind, b: &Kind) -> bool {
    let is_number = |kind: &Kind| matches!(kind, Kind::Long | Kind::Decimal { .. } | Kind::Double);
    match (a, b) {
        (Kind::Null, _) | (_, Kind::Null) => false,
        (Kind::Instant | Kind::Text, Kind::Instant | Kind::Text) => false,
        (a, b) if is_number(a) && is_number(b) => false,
        (a, b) => std::mem::discriminant(a) != std::mem::discriminant(b),
    }
}

fn wider((p1, s1): (u8, u8), (p2, s2): (u8, u8)) -> Kind {
    let scale = s1.max(s2);
    let precision = (p1 - s1).max(p2 - s2) + scale;
    if precision > 38 { Kind::Double } else { Kind::Decimal { precision, scale } }
}

/// Columns in the order of their names; those without a type that a table can hold are left out.
fn columns(fields: &BTreeMap<String, Kind>) -> StructType {
    let mut columns = Vec::with_capacity(fields.len());
    for (name, kind) in fields.iter().filter(|(name, _)| !name.is_empty()) {
        columns.extend(data_type(kind).map(|data_type| StructField::new(name, data_type, true)));
    }
    StructType { fields: columns }
}

fn data_type(kind: &Kind) -> Option<DataType> {
    Some(match kind {
        Kind::Null | Kind::Text => DataType::String,
        Kind::Boolean => DataType::Boolean,
        Kind::Long => DataType::Long,
        Kind::Decimal { precision, scale } => DataType::Decimal { precision: *precision, scale: *scale },
        Kind::Double => DataType::Double,
        Kind::Instant => DataType::Timestamp,
        Kind::Array(element) => {
            DataType::Array { element: Box::new(data_type(element)?), contains_null: true }
        }
        Kind::Object(fields) => match columns(fields) {
            empty if empty.fields.is_empty() => return None,
            columns => DataType::Struct(columns),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ddl(messages: &[&str]) -> String {
        let mut inference = Inference::default();
        messages.iter().for_each(|message| {
            inference.add(message.as_bytes());
        });
        inference.schema().to_ddl()
    }

    #[test]
    fn types_are_those_of_spark_and_stand_in_the_order_of_names() {
        for (messages, expected) in [
            (&[r#"{"b":1,"a":"x","C":true}"#][..], "C BOOLEAN, a STRING, b BIGINT"),
            (&[r#"{"a":1}"#, r#"{"a":1.5}"#, r#"{"a":null}"#], "a DOUBLE"),
            (&[r#"{"a":1}"#, r#"{"a":"1"}"#], "a STRING"),
            (&[r#"{"a":1}"#, r#"{"a":{"b":1}}"#], "a STRING"),
            (&[r#"{"a":null,"b":[],"c":{},"d":[{}]}"#], "a STRING, b ARRAY<STRING>"),
            (&[r#"{"a":[1,2.5,null]}"#, r#"{"a":[]}"#], "a ARRAY<DOUBLE>"),
            (&[r#"{"a":{"y":1}}"#, r#"{"a":{"x":"t"}}"#], "a STRUCT<x: STRING, y: BIGINT>"),
            (&[r#"{"a":9223372036854775808}"#], "a DECIMAL(19,0)"),
            (&[r#"{"a":9223372036854775808}"#, r#"{"a":1}"#], "a DECIMAL(20,0)"),
            (&[r#"{"a":100000000000000000000000000000000000000}"#], "a DOUBLE"),
            (&[r#"{"a b":1,"":2}"#], "`a b` BIGINT"),
            (&[r#"{"a":"x","a":1,"b":1,"b":2.5}"#], "a STRING, b DOUBLE"),
        ] {
            assert_eq!(ddl(messages), expected, "{messages:?}");
        }
    }

    #[test]
    fn only_texts_that_are_all_instants_become_timestamps() {
        let one = |value: &str| ddl(&[&format!(r#"{{"t":"{value}"}}"#)]);
        for instant in
            ["2026-11-21T03:04:05Z", "2026-11-21T03:04:05.123456+01:00", "1999-12-31T23:59:59.9-08:00"]
        {
            assert_eq!(one(instant), "t TIMESTAMP", "{instant}");
        }
        for text in [
            "2026-11-21",
            "2026-11-21 03:04:05Z",
            "2026-11-21T03:04:05",
            "2026-11-21T03:04Z",
            "2026-13-21T03:04:05Z",
            "2026-11-21T03:04:05.1234567Z",
            "2026-11-21T03:04:05.Z",
            "2026-11-21T03:04:05Z ",
            "2026-12-31T23:59:60Z",
            "2026-11-21T03:04:05+19:00",
            "",
        ] {
            assert_eq!(one(text), "t STRING", "{text}");
        }
        assert_eq!(ddl(&[r#"{"t":"2026-11-21T03:04:05Z"}"#, r#"{"t":null}"#]), "t TIMESTAMP");
        assert_eq!(ddl(&[r#"{"t":"2026-11-21T03:04:05Z"}"#, r#"{"t":"soon"}"#]), "t STRING");
    }

    #[test]
    fn what_is_no_object_is_counted_and_changes_nothing() {
        let mut inference = Inference::default();
        for message in [
            "",
            "{",
            "1",
            "[1]",
            "[{\"b\":1}]",
            "null",
            "{} x",
            &format!("{}1{}", "[".repeat(99), "]".repeat(99)),
        ] {
            assert!(!inference.add(message.as_bytes()), "{message}");
        }
        assert!(inference.add(br#"{"a":1}"#));
        assert_eq!(
            (inference.objects(), inference.others(), inference.schema().to_ddl()),
            (1, 8, "a BIGINT".into())
        );
    }

    #[test]
    fn names_that_differ_only_in_case_are_found_among_very_many() {
        let mut inference = Inference::default();
        let many: Vec<String> = (0..1_000_000).map(|key| format!("\"key{key}\":1")).collect();
        inference.add(format!("{{\"KEY7\":1,\"kEY7\":1,{}}}", many.join(",")).as_bytes());
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        assert_eq!(inference.same_but_case(), [pair("KEY7", "kEY7"), pair("KEY7", "key7")]);
    }

    #[test]
    fn a_column_can_be_made_text_by_its_path() {
        let mut inference = Inference::default();
        inference.add(br#"{"a":{"b.c":{"d":1}},"e":[{"f":2}]}"#);
        assert!(inference.declare_text("a.b.c.d") && inference.declare_text("e.f"));
        assert!(!inference.declare_text("e") && !inference.declare_text("zzz"));
        assert_eq!(inference.schema().to_ddl(), "a STRUCT<`b.c`: STRUCT<d: STRING>>, e STRING");
    }
}
