//! What the decoder promises of outcomes, roll-back, NOT NULL and sizes.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use proptest::prelude::*;

use super::*;
use crate::model::Kind;

const KEEP: Policy = Policy { on_malformed: OnMalformed::Keep, enforce_not_null: false };
const STRICT: Policy = Policy { on_malformed: OnMalformed::Reject, enforce_not_null: true };

fn decoder(schema: &str, options: &[(&str, &str)], policy: Policy) -> JsonDecoder {
    let map: BTreeMap<String, String> =
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let schema = StructType::from_ddl(schema).unwrap();
    JsonDecoder::new(&schema, &JsonOptions::from_map(&map).unwrap().0, policy).unwrap()
}

fn rejected(outcome: Outcome) -> Rejection {
    match outcome {
        Outcome::Rejected(why) | Outcome::KeptMalformed(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rejected_message_leaves_nothing_behind() {
    let mut decoder = decoder("a INT, l ARRAY<STRUCT<x: STRING>>, m MAP<STRING, INT>", &[], STRICT);
    assert_eq!(decoder.push(Some(br#"{"a":1,"l":[{"x":"y"}],"m":{"k":1}}"#)), Outcome::Row);
    let before = decoder.memory_bytes();
    for bad in
        [&br#"{"a":2,"l":[{"x":"z"},{"x":"z"}],"m":{"k":1,"j":"x"}}"#[..], br#"{"a":3,"l":[{"x":"w"#, b"x"]
    {
        assert!(matches!(decoder.push(Some(bad)), Outcome::Rejected(_)));
        assert_eq!((decoder.rows(), decoder.memory_bytes()), (1, before));
    }
    assert_eq!(decoder.push(Some(br#"{"a":4}"#)), Outcome::Row);
    let batch = decoder.finish().unwrap();
    assert_eq!(batch.num_rows(), 2);
    assert_eq!(batch.column(1).as_list::<i32>().values().len(), 1);
    assert_eq!(decoder.rows(), 0);
}

#[test]
fn a_rejection_names_the_field_and_never_a_value() {
    let mut decoder = decoder("a INT, s STRUCT<x: INT, l: ARRAY<STRUCT<y: DATE>>>", &[], KEEP);
    let why = rejected(decoder.push(Some(br#"{"s":{"x":1,"l":[{"y":"secret"}]},"a":1}"#)));
    assert_eq!((why.code, why.field.as_deref()), (RejectionCode::CannotParseField, Some("s.l.y")));
    assert!(!why.to_string().contains("secret"), "{why}");
    let why = rejected(decoder.push(Some(br#"{"a":1"#)));
    assert_eq!((why.code, why.field), (RejectionCode::MalformedRecord, None));
}

#[test]
fn tombstones_and_empty_messages_are_rows_of_nulls() {
    for policy in [KEEP, Policy { on_malformed: OnMalformed::Reject, ..KEEP }] {
        let mut decoder = decoder("a INT, _corrupt_record STRING", &[], policy);
        for value in [None, Some(&b""[..]), Some(b" \t\r\n")] {
            assert_eq!(decoder.push(value), Outcome::Row);
        }
        let batch = decoder.finish().unwrap();
        assert_eq!((batch.column(0).null_count(), batch.column(1).null_count()), (3, 3));
    }
}

#[test]
fn not_null_is_enforced_where_it_stands_and_only_if_asked_for() {
    let schema = "a INT NOT NULL, s STRUCT<x: INT NOT NULL>, l ARRAY<STRUCT<y: INT NOT NULL>>";
    let mut strict = decoder(schema, &[], STRICT);
    for (message, field) in
        [(&br#"{"a":null}"#[..], "a"), (br#"{"a":1,"s":{}}"#, "s.x"), (br#"{"a":1,"l":[{"y":1},{}]}"#, "l.y")]
    {
        let why = rejected(strict.push(Some(message)));
        assert_eq!((why.code, why.field.as_deref()), (RejectionCode::NotNullViolation, Some(field)));
    }
    assert_eq!(rejected(strict.push(None)).code, RejectionCode::NotNullViolation);
    assert_eq!(strict.push(Some(br#"{"a":1,"s":null,"l":[null]}"#)), Outcome::Row);
    let batch = strict.finish().unwrap();
    assert_eq!(batch.num_rows(), 1);
    assert!(!batch.schema().field(0).is_nullable());
    let mut spark = decoder(schema, &[], KEEP);
    assert_eq!(spark.push(Some(b"{}")), Outcome::Row);
    assert!(spark.finish().unwrap().schema().field(0).is_nullable());
}

#[test]
fn modes_decide_what_becomes_of_malformed_records() {
    for (mode, kept) in [("PERMISSIVE", true), ("FAILFAST", false), ("DROPMALFORMED", false)] {
        let mut decoder = decoder("a INT, b STRING", &[("mode", mode)], KEEP);
        let outcome = decoder.push(Some(br#"{"a":"x","b":"y"}"#));
        assert_eq!(matches!(outcome, Outcome::KeptMalformed(_)), kept, "{mode}");
        assert_eq!(decoder.rows(), usize::from(kept));
    }
}

#[test]
fn a_full_batch_says_so_and_an_empty_one_never_does() {
    let mut decoder = decoder("a STRING", &[], KEEP);
    decoder.bytes = BATCH_BYTES_MAX - 5;
    assert_eq!(decoder.push(Some(br#"{"a":1}"#)), Outcome::Full);
    decoder.finish().unwrap();
    assert_eq!(decoder.push(Some(br#"{"a":1}"#)), Outcome::Row);
}

#[test]
fn a_message_may_be_as_deep_as_the_option_allows() {
    let mut decoder = decoder("a INT, s STRING", &[("maxNestingDepth", "1000000")], KEEP);
    let nested = format!("{}{}", "[".repeat(300_000), "]".repeat(300_000));
    let message = format!(r#"{{"x":{nested},"s":{nested},"a":1}}"#);
    assert_eq!(decoder.push(Some(message.as_bytes())), Outcome::Row);
    let batch = decoder.finish().unwrap();
    assert_eq!(batch.column(1).as_string::<i32>().value(0), nested);
}

#[test]
fn the_corrupt_record_column_must_be_a_nullable_string() {
    let options = JsonOptions::default();
    for schema in ["_corrupt_record INT", "_corrupt_record STRING NOT NULL"] {
        let schema = StructType::from_ddl(schema).unwrap();
        let error = JsonDecoder::new(&schema, &options, STRICT).err().unwrap();
        assert_eq!(error.kind(), Kind::Config, "{error}");
        assert!(error.to_string().contains("_corrupt_record"), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_row_or_a_rejection(messages in proptest::collection::vec(any::<Vec<u8>>(), 0..20)) {
        let mut decoder = decoder("a INT, s STRUCT<x: STRING>, _corrupt_record STRING", &[], KEEP);
        for message in &messages {
            let rows = decoder.rows();
            let outcome = decoder.push(Some(message));
            let added = usize::from(!matches!(outcome, Outcome::Rejected(_)));
            prop_assert_eq!(decoder.rows() - rows, added);
        }
        prop_assert_eq!(decoder.finish().unwrap().num_rows(), messages.len());
    }
}
