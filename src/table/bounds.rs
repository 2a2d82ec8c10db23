//! Rows as the statistics of a file need them: with the beginnings of long texts.
//!
//! The kernel keeps the least and the greatest value of every batch whole until a file is closed, and then
//! looks at their first 65 characters (Delta's truncation of bounds: 32, up to 64 for a tie, and the one after).
//! Of messages of a megabyte that were two megabytes a batch, and twice that at the end. Beginnings order as
//! whole texts do, so the bounds are the same.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StructArray};
use arrow::datatypes::DataType;

/// Characters that decide a bound, and some more.
const CHARACTERS: usize = 80;
/// Texts of more bytes than this are shortened.
const LONG_BYTES: usize = 1024;

/// The same rows with texts that are as long as a bound can be told by; rows without long texts as they are.
pub fn for_bounds(rows: &RecordBatch) -> RecordBatch {
    let columns: Vec<ArrayRef> = rows.columns().iter().map(shortened).collect();
    RecordBatch::try_new(rows.schema(), columns).expect("same types, lengths and nulls as before")
}

fn shortened(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8 => {
            let texts = column.as_string::<i32>();
            let long = texts.offsets().windows(2).any(|ends| (ends[1] - ends[0]) as usize > LONG_BYTES);
            if long {
                let short: StringArray = texts.iter().map(|text| text.map(beginning)).collect();
                Arc::new(short)
            } else {
                Arc::clone(column)
            }
        }
        DataType::Struct(fields) => {
            let inner = column.as_struct();
            let columns: Vec<ArrayRef> = inner.columns().iter().map(shortened).collect();
            let rebuilt = StructArray::try_new_with_length(
                fields.clone(),
                columns,
                inner.nulls().cloned(),
                inner.len(),
            );
            Arc::new(rebuilt.expect("same types, lengths and nulls as before"))
        }
        _ => Arc::clone(column),
    }
}

fn beginning(text: &str) -> &str {
    text.char_indices().nth(CHARACTERS).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Fields, Schema};
    use delta_kernel::engine::arrow_conversion::TryFromArrow;
    use delta_kernel::expressions::column_name;
    use delta_kernel::schema::StructType;
    use delta_kernel_engine::stats::FileStatsAccumulator;

    use super::*;

    fn rows(texts: &[Option<&str>]) -> RecordBatch {
        let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        let fields = Fields::from(vec![Field::new("inner", DataType::Utf8, true)]);
        let nested = StructArray::new(fields.clone(), vec![Arc::clone(&texts)], texts.nulls().cloned());
        let schema = Schema::new(vec![
            Field::new("text", DataType::Utf8, true),
            Field::new("nested", DataType::Struct(fields), true),
        ]);
        RecordBatch::try_new(Arc::new(schema), vec![texts, Arc::new(nested)]).unwrap()
    }

    fn statistics(rows: &RecordBatch) -> StructArray {
        let schema = StructType::try_from_arrow(rows.schema().as_ref()).unwrap();
        let columns = [column_name!("text"), column_name!("nested.inner")];
        let mut statistics = FileStatsAccumulator::new(&columns, &schema);
        statistics.merge(rows).unwrap();
        statistics.finish().unwrap().unwrap()
    }

    #[test]
    fn bounds_of_beginnings_are_those_of_whole_texts() {
        let long = |start: &str, with: &str| format!("{start}{}", with.repeat(2_000));
        let cases = [
            vec![long("", "a"), long("b", "z"), "short".into()],
            vec![long("ä", "ö"), long("", "\u{10FFFF}"), long("z", "x")],
            vec![long(&"a".repeat(40), "\u{10FFFF}"), long(&"a".repeat(40), "b")],
            vec![long(&"a".repeat(64), "x"), "a".repeat(64), "a".repeat(65), "a".repeat(33)],
            vec![long("", "\u{7F}"), long("", "~")],
        ];
        for case in cases {
            let mut texts: Vec<Option<&str>> = case.iter().map(|text| Some(text.as_str())).collect();
            texts.push(None);
            let whole = rows(&texts);
            let short = for_bounds(&whole);
            assert!(short.get_array_memory_size() < 5_000, "{}", short.get_array_memory_size());
            assert_eq!(statistics(&short), statistics(&whole));
        }
        let small = rows(&[Some("x"), None]);
        assert_eq!(for_bounds(&small), small);
    }
}
