//! Messages name keys of a stream file; `ingest` has flags for them.

use crate::model::Error;

/// Keys of a stream, and the flag of `ingest` that sets each; not those that are plain words, such as `trigger`, whose flags
/// have the same name.
const FLAGS: [(&str, &str); 15] = [
    ("source.format", "--from"),
    ("source.options.kafka.bootstrap.servers", "--bootstrap-servers"),
    ("source.options.subscribe", "--topic"),
    ("source.options.startingOffsets", "--starting-offsets"),
    ("source.value.schema", "--schema"),
    ("source.value.mode", "--mode"),
    ("source.value.keep", "--keep"),
    ("sink.format", "--to"),
    ("sink.path", "--table"),
    ("sink.partitionBy", "--partition-by"),
    ("sink.merge.keys", "--merge-key"),
    ("sink.merge.whenMatched", "--when-matched"),
    ("deadLetter.path", "--dead-letter"),
    ("checkpointLocation", "--checkpoint"),
    ("memoryLimit", "--memory-limit"),
];

/// Keys that messages name by their last words.
const SHORT: [(&str, &str); 4] = [
    ("kafka.bootstrap.servers", "--bootstrap-servers"),
    ("subscribe", "--topic"),
    ("startingOffsets", "--starting-offsets"),
    ("deadLetter", "--dead-letter"),
];

/// The error of a stream that flags describe: its hint says which flags set the keys that it names.
pub(in crate::cli) fn in_flags(error: Error) -> Error {
    let mut flags: Vec<String> = Vec::new();
    for (key, flag) in error.to_string().split(is_no_part_of_a_key).filter_map(flag_of) {
        let told = format!("{flag} sets {key}");
        if !flags.contains(&told) {
            flags.push(told);
        }
    }
    if flags.is_empty() {
        return error;
    }
    let flags = format!("on the command line {}", flags.join(", "));
    let hint = error.hint_text().map_or(flags.clone(), |hint| format!("{hint}; {flags}"));
    error.hint(hint)
}

fn is_no_part_of_a_key(c: char) -> bool {
    !c.is_ascii_alphanumeric() && c != '.' && c != '_'
}

/// A key, and the flag that sets it.
fn flag_of(word: &str) -> Option<(&str, String)> {
    let key = word.trim_matches('.');
    if let Some((_, flag)) = FLAGS.iter().chain(&SHORT).find(|(known, _)| *known == key) {
        return Some((key, (*flag).to_owned()));
    }
    let option = |prefix: &str, flag: &str| {
        let name = key.strip_prefix(prefix).filter(|name| !name.is_empty())?;
        Some((key, format!("{flag} {name}=…")))
    };
    option("source.options.", "--option").or_else(|| option("sink.options.", "--sink-option"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};

    #[test]
    fn keys_of_a_message_are_told_by_their_flags_once_each() {
        let told = |error: Error| in_flags(error).hint_text().unwrap_or_default().to_owned();
        assert_eq!(
            told(Error::config("column a is in no schema").hint("add it to source.value.schema.")),
            "add it to source.value.schema.; on the command line --schema sets source.value.schema"
        );
        assert_eq!(
            told(Error::config(
                "source.options.failOnDataLoss and source.options.failOnDataLoss, sink.options.mergeSchema"
            )),
            "on the command line --option failOnDataLoss=… sets source.options.failOnDataLoss, \
             --sink-option mergeSchema=… sets sink.options.mergeSchema"
        );
        assert_eq!(told(Error::config("the name of a trigger, in sql")), "");
    }

    #[test]
    fn the_flags_set_the_keys_that_they_are_told_for() {
        let line = "alluvia ingest --name n --from kafka --bootstrap-servers b:1 --topic t --starting-offsets latest --schema a --mode FAILFAST \
                    --keep topic --sql s --to delta --table t --partition-by a --merge-key a --when-matched update --dead-letter d \
                    --trigger once --checkpoint c --memory-limit 1g --lanes 1";
        let Command::Ingest(args) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("another command")
        };
        let set: Vec<String> = args.settings(None).iter().map(|setting| format!("{setting:?}")).collect();
        for (key, flag) in FLAGS {
            assert!(set.contains(&format!("Setting({flag} {key})")), "{flag} {key} in {set:?}");
        }
    }
}
