//! Schemas as text: Spark 4.0's DDL and Spark's JSON form, read and written.
//!
//! The three readings are Spark's: [`StructType::from_ddl`] takes a list of columns,
//! [`DataType::from_ddl`] a type or else a list of columns, [`DataType::of_from_json`] what the
//! function `from_json` takes. An error says where in the text it is and what mends it. Nothing here
//! knows what a table can hold; that is [`StructType::to_arrow`]'s question.

mod collation;
mod json_form;
mod lexer;
mod mend;
mod parser;
mod print;

use super::schema::{DataType, StructType};
use crate::model::error::{Error, Result};
use parser::Parser;

impl StructType {
    /// A list of columns, `id BIGINT NOT NULL, tags ARRAY<STRING> COMMENT 'free text'`
    /// (`StructType.fromDDL`, `readStream.schema(…)`).
    ///
    /// # Errors
    /// `Config` with line and column if Spark refuses the text.
    pub fn from_ddl(text: &str) -> Result<StructType> {
        Parser::new(text).and_then(|parser| parser.columns()).map_err(|refusal| refusal.into_error())
    }
}

impl DataType {
    /// A type, or else a list of columns as a struct (`DataType.fromDDL`).
    ///
    /// # Errors
    /// `Config` with line and column if it is neither; of the two readings' errors the one that got
    /// further is told.
    pub fn from_ddl(text: &str) -> Result<DataType> {
        let as_type = match Parser::new(text).and_then(|parser| parser.data_type()) {
            Ok(data_type) => return Ok(data_type),
            Err(refusal) => refusal,
        };
        let as_columns = match Parser::new(text).and_then(|parser| parser.columns()) {
            Ok(columns) => return Ok(DataType::Struct(columns)),
            Err(refusal) => refusal,
        };
        let furthest = if as_type.at > as_columns.at { as_type } else { as_columns };
        Err(furthest.into_error())
    }

    /// The type that `from_json` gives its result for a schema text: DDL or Spark's JSON form, with
    /// everything nullable.
    ///
    /// # Errors
    /// `Config` if the text is no schema, or one that `from_json` refuses: CHAR and VARCHAR, a map
    /// whose key is no STRING, or no STRUCT, ARRAY, MAP or VARIANT at the top.
    pub fn of_from_json(text: &str) -> Result<DataType> {
        let written_as_json = text.trim_start().starts_with(['{', '"']);
        let data_type = if written_as_json { DataType::from_json(text)? } else { DataType::from_ddl(text)? };
        refuse_for_from_json(&data_type, &mut Vec::new())?;
        let whole = matches!(
            data_type,
            DataType::Struct(_) | DataType::Array { .. } | DataType::Map { .. } | DataType::Variant
        );
        if !whole {
            let fact = format!("a message cannot be read as {} alone", data_type.to_ddl());
            return Err(Error::config(fact).hint("name the columns, such as \"value STRING\""));
        }
        Ok(data_type.to_nullable())
    }
}

fn refuse_for_from_json<'a>(data_type: &'a DataType, path: &mut Vec<&'a str>) -> Result<()> {
    let refuse = |path: &[&str], what: &str, hint: &str| {
        let place =
            if path.is_empty() { "the schema".to_owned() } else { format!("column {}", path.join(".")) };
        Err(Error::config(format!("{place} is {what}, which JSON is not read as")).hint(hint))
    };
    match data_type {
        DataType::Varchar(_) => refuse(path, "VARCHAR", "declare it STRING"),
        DataType::Char(_) => refuse(path, "CHAR", "declare it STRING"),
        DataType::Map { key, .. } if !matches!(**key, DataType::String | DataType::CollatedString(_)) => {
            refuse(path, "a MAP whose key is not a STRING", "declare the key STRING")
        }
        DataType::Map { value: inner, .. } | DataType::Array { element: inner, .. } => {
            refuse_for_from_json(inner, path)
        }
        DataType::Struct(fields) => {
            for field in &fields.fields {
                path.push(&field.name);
                refuse_for_from_json(&field.data_type, path)?;
                path.pop();
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(text: &str) -> String {
        StructType::from_ddl(text).unwrap_err().to_string()
    }

    #[test]
    fn an_error_says_where_and_what_mends_it() {
        for (text, expected) in [
            ("id BIGINT, t TEXT", "unknown type TEXT at column 14 (use STRING)"),
            ("a INT,\n  b STRUCT<\n    c: BOOL>", "unknown type BOOL at line 3, column 8 (use BOOLEAN)"),
            ("`été` INT, b INT NULL", "\"NULL\" instead of a comma or the end at column 18"),
            ("a: INT", "\":\" instead of a type at column 2 (columns take no colon outside of STRUCT<>)"),
            ("a-b INT", "\"-\" instead of a type at column 2 (write the name in backquotes)"),
            ("a DECIMAL(39)", "39 is more than the 38 digits of a DECIMAL at column 11"),
            ("a DECIMAL(5,6)", "scale 6 of a DECIMAL is above its precision 5 at column 3"),
            ("a ARRAY<INT", "end of the schema instead of \">\" behind the element's type at column 12"),
            ("a INT COMMENT 'x", "text without a closing quote at column 15"),
            ("a INT /* b", "comment without an end at column 7"),
            ("", "schema is empty at column 1"),
        ] {
            let error = refusal(text);
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn of_two_readings_the_error_of_the_longer_one_is_told() {
        let error = |text| DataType::from_ddl(text).unwrap_err().to_string();
        assert!(error("a INT, b TEXT").starts_with("unknown type TEXT at column 10"));
        assert!(error("ARRAY<STRUCT<a: TEXT>>").starts_with("unknown type TEXT at column 17"));
    }

    #[test]
    fn from_json_refuses_by_path_what_it_cannot_read() {
        let error = |text| DataType::of_from_json(text).unwrap_err().to_string();
        assert!(error("a STRUCT<b: ARRAY<VARCHAR(3)>>").starts_with("column a.b is VARCHAR, which JSON"));
        assert!(error("m MAP<INT, INT>").starts_with("column m is a MAP whose key is not a STRING"));
        assert!(error("INT").starts_with("a message cannot be read as INT alone"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| format!("a {}INT{}", "ARRAY<".repeat(depth), ">".repeat(depth));
        assert!(StructType::from_ddl(&nested(150)).is_ok());
        assert!(refusal(&nested(100_000)).starts_with("types nested deeper than 200 at column"));
    }

    #[test]
    fn printed_ddl_reads_back_as_the_same_schema() {
        let text = "`a b` STRUCT<`x``y`: DECIMAL(12,2) NOT NULL COMMENT 'it\\'s \\\\', z: MAP<STRING, ARRAY<DATE>>>, \
                    `1a` INTERVAL DAY TO SECOND NOT NULL, c STRING COLLATE de_CI_AI, `` TIMESTAMP_NTZ";
        let schema = StructType::from_ddl(text).unwrap();
        assert_eq!(schema.to_ddl(), text);
        assert_eq!(StructType::from_ddl(&schema.to_ddl()).unwrap(), schema);
        assert_eq!(StructType::from_json(&schema.to_json().to_string()).unwrap(), schema);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = DataType::of_from_json(&text);
            let _ = StructType::from_ddl(&text);
        }

        #[test]
        fn what_is_read_prints_and_reads_back(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "`b c`", "INT", "DECIMAL(5,2)", "STRING", "ARRAY<", "MAP<STRING,", "STRUCT<", ">", ":", ",",
                    "NOT NULL", "COMMENT", "'x\\n'", "INTERVAL", "DAY", "TO", "SECOND", "COLLATE", "(", ")", "5", "--",
                    "/*", "*/", "\n", "é", "VARCHAR(3)",
                ]),
                0..14,
            )
        ) {
            let text = words.join(" ");
            if let Ok(schema) = StructType::from_ddl(&text) {
                prop_assert_eq!(StructType::from_ddl(&schema.to_ddl()).unwrap(), schema.clone());
                let json = schema.to_json().to_string();
                prop_assert_eq!(StructType::from_json(&json).unwrap(), schema);
            }
        }
    }
}
