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

/// The aggregates whose states the columns of these names are: `avg(temperature)` of `avg(input.temperature)[sum] of
/// avg(input.temperature)`.
pub(super) fn results_of(columns: &[String]) -> Vec<String> {
    let said = |column: &String| without_relations(result_of(column)).replace("count(Int64(1))", "count(*)");
    let mut results: Vec<String> = columns.iter().map(said).collect();
    results.dedup();
    results
}

/// The aggregate of a column `STATE of AGGREGATE`, where the state's name begins with the aggregate's.
fn result_of(column: &str) -> &str {
    let mut halves = column.match_indices(" of ").map(|(at, of)| (&column[..at], &column[at + of.len()..]));
    halves.find(|(state, aggregate)| state.starts_with(aggregate)).map_or(column, |(_, aggregate)| aggregate)
}

/// An expression without the relations that its columns are of.
fn without_relations(text: &str) -> String {
    let of_name = |character: char| character == '_' || character.is_alphanumeric();
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(of_name) {
        let (before, from) = rest.split_at(at);
        kept.push_str(before);
        let end = from.find(|character| !of_name(character)).unwrap_or(from.len());
        let (word, behind) = from.split_at(end);
        let column = behind.strip_prefix('.').filter(|column| column.starts_with(of_name));
        match column.filter(|_| !word.starts_with(|first: char| first.is_ascii_digit())) {
            // One relation only: what follows is a column.
            Some(column) => {
                let end = column.find(|character| !of_name(character)).unwrap_or(column.len());
                kept.push_str(&column[..end]);
                rest = &column[end..];
            }
            None => {
                kept.push_str(word);
                rest = behind;
            }
        }
    }
    kept + rest
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
            "passed",
        ]);
        let expected = list(&["count(*)", "avg(temperature)", "sum(b + Float64(1.5))", "passed"]);
        assert_eq!(results_of(&columns), expected);
    }
}
