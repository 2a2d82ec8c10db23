//! The pages of `docs/reference/` that follow from the tables of this folder.
//!
//! A test compares them with the files; `ALLUVIA_BLESS=1 cargo test --lib` writes them.

use super::environment::VARIABLES;
use super::kafka::librdkafka::CONSUMER_PROPERTIES;
use super::keys::{SECTIONS, Status};
use super::option_lists::{self, List, OptionRow};
use crate::model::generated::NOTE;

/// Every page: its file name and its text.
pub fn pages() -> Vec<(&'static str, String)> {
    vec![
        ("stream-file.md", stream_file()),
        ("kafka-options.md", kafka_options()),
        ("spark-options.md", spark_options()),
    ]
}

fn stream_file() -> String {
    let mut page = format!(
        "# The stream file\n\n{NOTE}\
         A YAML document. Later layers win: built-in defaults, the file, the environment, flags. Unknown keys,\n\
         keys given twice and values that cannot be read are refused, all of them at once, each with its place.\n\n\
         In any value `${{env:NAME}}` stands for an environment variable, `${{env:NAME:-default}}` for the text `default` if\n\
         that variable is unset or empty, and `${{file:/path}}` for the text of a file, without its last newline; `$${{` stands\n\
         for `${{`. What they stand for is never printed. `$NAME`, `~` and `{{{{secrets/SCOPE/KEY}}}}` are not looked up.\n\n\
         Times are written `5 seconds`, `1 minute 30 seconds`, `250 ms` or `15m`; months and years are refused, as in\n\
         Spark. Sizes are written `512 MiB` or `1g`, in powers of two. Relative paths start at the current directory.\n\n\
         `&anchors`, `*aliases` and `<<` may be used for what several streams share. Keys at the top that begin with `x-`\n\
         are ignored: `x-kafka: &kafka {{kafka.bootstrap.servers: b:9092}}`, then `options: {{<<: *kafka, subscribe: t}}`.\n"
    );
    for section in SECTIONS {
        let title =
            if section.path.is_empty() { "The top".to_owned() } else { format!("`{}`", section.path) };
        page.push_str(&format!("\n## {title}\n\n| key | |\n|---|---|\n"));
        for key in section.keys {
            let text = match key.status {
                Status::Required => format!("Required. {}", key.text),
                Status::Optional => key.text.to_owned(),
                Status::Later => format!("Not in this version. {}.", key.text),
            };
            page.push_str(&format!("| `{}` | {} |\n", key.name, cell(&text)));
        }
    }
    page.push_str("\n## Environment variables\n\n| variable | |\n|---|---|\n");
    for variable in VARIABLES {
        page.push_str(&format!("| `{}` | {} |\n", variable.name, cell(variable.text)));
    }
    page
}

fn kafka_options() -> String {
    let mut page = format!(
        "# Kafka options\n\n{NOTE}\
         What may stand under `source.options`. Names are compared without case, as in Spark.\n"
    );
    lists(&mut page, "Spark's options", "", option_lists::SOURCE);
    lists(&mut page, "Options of `format: eventhubs`", "", option_lists::EVENT_HUBS);
    lists(&mut page, "Properties of Kafka's Java consumer", "kafka.", option_lists::KAFKA);
    page.push_str(
        "\n## librdkafka's own properties\n\nHonoured under `kafka.` too; librdkafka's documentation says what they mean.\n\n",
    );
    for name in CONSUMER_PROPERTIES {
        page.push_str(&format!("- `kafka.{name}`\n"));
    }
    page
}

fn spark_options() -> String {
    let mut page = format!(
        "# Spark options\n\n{NOTE}\
         Options beside those of Kafka. Names are compared without case, as in Spark. `*` stands for any rest of a name.\n"
    );
    lists(&mut page, "JSON: `source.value.options`", "", option_lists::JSON);
    lists(&mut page, "Delta: `sink.options`", "", option_lists::DELTA);
    lists(&mut page, "Rate: `source.options`", "", option_lists::RATE);
    lists(&mut page, "Socket: `source.options`", "", option_lists::SOCKET);
    lists(&mut page, "Console: `sink.options`", "", option_lists::CONSOLE);
    lists(&mut page, "Session: `conf`", "", option_lists::CONF);
    page
}

/// The three lists of one table.
fn lists(page: &mut String, title: &str, prefix: &str, table: &[OptionRow]) {
    page.push_str(&format!("\n## {title}\n"));
    for kind in ["Honoured", "Accepted, no effect here", "Refused"] {
        page.push_str(&format!("\n### {kind}\n\n| option | |\n|---|---|\n"));
        for row in table.iter().filter(|row| title_of(row.list) == kind) {
            let text = match row.list {
                List::Honoured => row.text.to_owned(),
                List::Renamed(to) => format!("Becomes librdkafka's {}. {}", to.join(" and "), row.text),
                List::NoEffect | List::Refused => sentence(row.text),
            };
            page.push_str(&format!("| `{prefix}{}` | {} |\n", row.name, cell(text.trim())));
        }
    }
}

fn title_of(list: List) -> &'static str {
    match list {
        List::Honoured | List::Renamed(_) => "Honoured",
        List::NoEffect => "Accepted, no effect here",
        List::Refused => "Refused",
    }
}

/// A text as the cell of a table.
fn cell(text: &str) -> String {
    let end = if text.is_empty() || text.ends_with(['.', '?']) { "" } else { "." };
    format!("{}{end}", text.replace('|', "\\|"))
}

/// A reason as a sentence: with a capital, unless it begins with the name of an option.
fn sentence(reason: &str) -> String {
    let first = reason.split(' ').next().unwrap_or_default();
    let mut sentence = reason.to_owned();
    if first.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        && let Some(letter) = sentence.get_mut(..1)
    {
        letter.make_ascii_uppercase();
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::generated;

    #[test]
    fn the_reference_pages_are_those_of_the_code() {
        for (name, text) in pages() {
            generated::assert_current(name, &text);
        }
    }

    #[test]
    fn no_option_is_in_two_lists() {
        for table in [
            option_lists::SOURCE,
            option_lists::KAFKA,
            option_lists::JSON,
            option_lists::DELTA,
            option_lists::EVENT_HUBS,
            option_lists::RATE,
            option_lists::SOCKET,
            option_lists::CONSOLE,
            option_lists::CONF,
        ] {
            for (i, row) in table.iter().enumerate() {
                let twice = table[..i].iter().any(|other| other.name.eq_ignore_ascii_case(row.name));
                assert!(!twice, "{}", row.name);
                let explained = !matches!(row.list, List::NoEffect | List::Refused) || !row.text.is_empty();
                assert!(explained, "{} has no reason", row.name);
            }
        }
        assert!(CONSUMER_PROPERTIES.is_sorted());
    }
}
