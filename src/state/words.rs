//! What has changed between two queries, in the words of those who write them.

/// The operator of Spark's name `operator`, as a query has it.
pub(super) fn step_of(operator: &str) -> &str {
    match operator {
        "stateStoreSave" => "GROUP BY",
        "sessionWindowStateStoreSaveExec" => "GROUP BY session_window",
        "dedupe" => "dropDuplicates",
        "dedupeWithinWatermark" => "dropDuplicatesWithinWatermark",
        "globalLimit" => "LIMIT",
        other => other,
    }
}

/// How a list became another, which differs from it; `what` it lists.
pub(super) fn change_of(what: &str, old: Vec<String>, new: Vec<String>) -> String {
    let without = |all: &[String], others: &[String]| -> Vec<String> {
        let mut others = others.to_vec();
        let mut rest = all.to_vec();
        rest.retain(|one| match others.iter().position(|other| other == one) {
            Some(at) => {
                others.remove(at);
                false
            }
            None => true,
        });
        rest
    };
    let (gone, added) = (without(&old, &new), without(&new, &old));
    let verb = |all: &[String]| if all.len() == 1 { "was" } else { "were" };
    match (gone.as_slice(), added.as_slice()) {
        ([], []) => format!("{what} were {}, and are {} now", old.join(", "), new.join(", ")),
        (gone, []) => format!("{} {} removed", gone.join(", "), verb(gone)),
        ([], added) => format!("{} {} added", added.join(", "), verb(added)),
        (gone, added) => format!("{} became {}", gone.join(", "), added.join(", ")),
    }
}

/// Whether columns of these names, which have the same types, are not those of before: they have changed places, or are made by
/// other functions. Any other name may be a new name of the same.
pub(super) fn are_others(old: &[String], new: &[String]) -> bool {
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    let exchanged = |(old, new): (&String, &String)| match (function_of(old), function_of(new)) {
        (Some(old), Some(new)) => old != new,
        _ => false,
    };
    old != new && (sorted(old) == sorted(new) || old.iter().zip(new).any(exchanged))
}

/// The function of a call.
fn function_of(name: &str) -> Option<&str> {
    let (function, _) = name.split_once('(')?;
    (!function.is_empty() && function.chars().all(is_of_name)).then_some(function)
}

/// What a call is of.
pub(super) fn argument_of(call: &str) -> Option<&str> {
    call.split_once('(')?.1.strip_suffix(')')
}

/// The aggregates whose states the columns of these names are: `avg(temperature)` of `avg(input.temperature)[sum] of
/// avg(input.temperature)`.
pub(super) fn results_of(columns: &[String]) -> Vec<String> {
    let mut results: Vec<String> = columns.iter().map(|column| result_of(column)).collect();
    results.dedup();
    results
}

/// The aggregate of a column `STATE of AGGREGATE`, where the state's name begins with the aggregate's.
pub(super) fn result_of(column: &str) -> String {
    let mut halves = column.match_indices(" of ").map(|(at, of)| (&column[..at], &column[at + of.len()..]));
    let aggregate = halves.find(|(state, aggregate)| state.starts_with(aggregate));
    in_words(aggregate.map_or(column, |(_, aggregate)| aggregate))
}

fn is_of_name(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// An expression as a query has it: its columns without their relations, its literals without their types.
pub(crate) fn in_words(text: &str) -> String {
    // A column, whose relation is not in its name, or a field of one: `window.start`.
    if text.chars().all(|character| character == '.' || is_of_name(character)) {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_of_name) {
        let (before, from) = rest.split_at(at);
        kept.push_str(before);
        let end = from.find(|character| !is_of_name(character)).unwrap_or(from.len());
        let (word, behind) = from.split_at(end);
        let column = behind.strip_prefix('.').filter(|column| column.starts_with(is_of_name));
        if let Some((literal, behind)) = literal(word, behind) {
            kept.push_str(&literal);
            rest = behind;
            continue;
        }
        match column.filter(|_| !word.starts_with(|first: char| first.is_ascii_digit())) {
            // One relation only: what follows is a column.
            Some(column) => {
                let end = column.find(|character| !is_of_name(character)).unwrap_or(column.len());
                kept.push_str(&column[..end]);
                rest = &column[end..];
            }
            None => {
                kept.push_str(word);
                rest = behind;
            }
        }
    }
    (kept + rest).replace("count(1)", "count(*)")
}

/// The value of a literal, where `of_type` is the name of its type, and what is behind it.
fn literal<'a>(of_type: &str, behind: &'a str) -> Option<(String, &'a str)> {
    let value = behind.strip_prefix('(')?;
    match of_type {
        "Boolean" | "Int8" | "Int16" | "Int32" | "Int64" | "Float32" | "Float64" => {
            let (value, behind) = value.split_once(')')?;
            Some((value.to_owned(), behind))
        }
        "Utf8" => match value.strip_prefix('"') {
            Some(text) => text.split_once("\")").map(|(text, behind)| (format!("'{text}'"), behind)),
            None => value.split_once(')').map(|(null, behind)| (null.to_owned(), behind)),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_change_is_said_in_the_words_of_a_query() {
        let cases: [(&[&str], &[&str], &str); 5] = [
            (&["dropDuplicates", "GROUP BY"], &["GROUP BY"], "dropDuplicates was removed"),
            (&["GROUP BY"], &["GROUP BY", "LIMIT", "LIMIT"], "LIMIT, LIMIT were added"),
            (&["count(*)", "avg(v)"], &["count(*)", "sum(v)"], "avg(v) became sum(v)"),
            (&["a", "b"], &["b", "a"], "the steps were a, b, and are b, a now"),
            (&["a"], &[], "a was removed"),
        ];
        for (old, new, expected) in cases {
            assert_eq!(change_of("the steps", list(old), list(new)), expected);
        }
    }

    #[test]
    fn the_states_of_an_aggregate_are_one_result() {
        let columns = list(&[
            "count(Int64(1))[count] of count(Int64(1))",
            "avg(input.temperature)[count] of avg(input.temperature)",
            "avg(input.temperature)[sum] of avg(input.temperature)",
            "sum(a.b + Float64(1.5))[sum] of sum(a.b + Float64(1.5))",
            r#"max(concat(input.k, Utf8("a.b (c)"), Utf8(NULL)))[max] of max(concat(input.k, Utf8("a.b (c)"), Utf8(NULL)))"#,
            "window.start",
        ]);
        let expected = list(&[
            "count(*)",
            "avg(temperature)",
            "sum(b + 1.5)",
            "max(concat(k, 'a.b (c)', NULL))",
            "window.start",
        ]);
        assert_eq!(results_of(&columns), expected);
    }
}
