//! `watermark`, `dropDuplicates` and `dropDuplicatesWithinWatermark` of a source or a view, and `outputMode`.
//!
//! Names of columns and times are taken as they are; both are checked when the query is planned.

use std::path::PathBuf;

use super::document::{Node, Value};
use super::keys;
use super::local_folder::{self, LocalPlace};
use super::reader::{Fields, Reader, Text};
use crate::model::{Marks, OutputMode, Watermark, user};

/// Reads the three keys.
pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Marks {
    let watermark = fields.node("watermark").and_then(|node| {
        let section = reader.fields(node, &fields.path_of("watermark"), &keys::WATERMARK)?;
        let event_time = section.text(reader, "eventTime").map(|text| text.value);
        let delay_threshold = section.text(reader, "delayThreshold").map(|text| text.value);
        let max_future_skew = section.text(reader, "maxFutureSkew").map(|text| text.value);
        let idle_timeout = section.text(reader, "idleTimeout").map(|text| text.value);
        let (event_time, delay_threshold) = (event_time?, delay_threshold?);
        Some(Watermark { event_time, delay_threshold, max_future_skew, idle_timeout })
    });
    let marks = Marks {
        watermark,
        drop_duplicates: columns(reader, fields, "dropDuplicates"),
        drop_duplicates_within_watermark: columns(reader, fields, "dropDuplicatesWithinWatermark"),
    };
    if marks.drop_duplicates_within_watermark.is_some()
        && let (None, Some(node)) = (&marks.watermark, fields.node("dropDuplicatesWithinWatermark"))
    {
        let why = "dropDuplicatesWithinWatermark needs a watermark beside it";
        let path = fields.path_of("dropDuplicatesWithinWatermark");
        let hint = "add watermark: {eventTime: …, delayThreshold: …}, or use dropDuplicates";
        reader.problems.add_with_hint(&node.origin, &path, why, hint);
    }
    marks
}

fn columns(reader: &mut Reader<'_>, fields: &Fields<'_>, key: &str) -> Option<Vec<String>> {
    let node = fields.node(key)?;
    let path = fields.path_of(key);
    let Value::List(items) = &node.value else {
        let why = format!("expected a list of columns, found {}; [] means all columns", node.value.kind());
        reader.problems.add(&node.origin, &path, why);
        return None;
    };
    let one = |(index, item): (usize, &Node)| reader.text(item, &format!("{path}[{index}]"), key);
    let texts: Option<Vec<Text>> = items.iter().enumerate().map(one).collect();
    Some(texts?.into_iter().map(|text| text.value).collect())
}

/// Reads `outputMode`.
pub(super) fn output_mode(reader: &mut Reader<'_>, fields: &Fields<'_>) -> OutputMode {
    let Some(text) = fields.text(reader, "outputMode") else { return OutputMode::Append };
    let modes = [OutputMode::Append, OutputMode::Update, OutputMode::Complete];
    let wanted = text.value.trim().to_lowercase();
    match modes.into_iter().find(|mode| mode.name() == wanted) {
        Some(mode) => mode,
        None => {
            reader.refuse(&text, "expected append, update or complete");
            OutputMode::Append
        }
    }
}

/// Reads `stateFolder`, or says where the copy of the state lies if it is not given.
pub(super) fn state_folder(
    reader: &mut Reader<'_>,
    fields: &Fields<'_>,
    place: &LocalPlace<'_>,
) -> Option<PathBuf> {
    match local_folder::read(reader, fields, "stateFolder", place, "state", place.checkpoint)? {
        Some(folder) => Some(folder),
        None => {
            // The state refuses such a folder if it is another user's, so each user has one.
            let cache = std::env::temp_dir().join(format!("alluvia-{}", user::id()));
            Some(local_folder::in_cache(&cache, "state", place, place.checkpoint?))
        }
    }
}
