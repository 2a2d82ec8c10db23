//! `alluvia checkpoint show` tells what a checkpoint knows; `alluvia checkpoint rebuild` makes a lost one anew, and the
//! stream goes on as if it had never been lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::rig::{Alluvia, Broker, Ended, Message, delta_digest, delta_rows};
use crate::streams::ingest::{COLUMNS, expected, w1_yaml};

const BOUND: Duration = Duration::from_secs(120);
const PARTITIONS: u32 = 2;

struct Stream<'a> {
    broker: &'a Broker,
    topic: String,
    folder: tempfile::TempDir,
    yaml: String,
}

impl<'a> Stream<'a> {
    /// A stream of batches of 100 events, with `more` keys.
    fn new(broker: &'a Broker, hint: &str, more: &str) -> Stream<'a> {
        let topic = broker.topic(hint, PARTITIONS as i32);
        let yaml = w1_yaml(broker, &topic, ", maxOffsetsPerTrigger: 100", more);
        Stream { broker, topic, folder: tempfile::tempdir().unwrap(), yaml }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, from: u64, until: u64) {
        self.broker.produce(&self.topic, (from..until).map(|seq| Message::event(1, seq, PARTITIONS)));
        Alluvia::run(&self.yaml, self.folder.path()).wait(BOUND).success();
    }

    fn refused(&self) -> Ended {
        Alluvia::run(&self.yaml, self.folder.path()).wait(BOUND)
    }

    fn command(&self, arguments: &[&str]) -> Ended {
        Alluvia::start(["checkpoint"].iter().chain(arguments), self.folder.path(), &[]).wait(BOUND)
    }

    fn show(&self, target: &str) -> Value {
        let ended = self.command(&["show", target, "--output", "json"]).success();
        serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{}: {e}", ended.stdout))
    }

    fn next(&self) -> String {
        self.show("stream.yaml")["next"]["action"].as_str().expect("a word").to_owned()
    }

    fn newest(&self) -> i64 {
        self.show("checkpoint")["newestPlan"].as_i64().expect("a plan")
    }

    fn lose(&self) {
        fs::remove_dir_all(self.path("checkpoint")).unwrap();
    }

    fn assert_holds(&self, events: u64) {
        let there = delta_digest(&self.path("table"), &COLUMNS);
        assert!(there.same_rows(&expected(&self.topic, 1, events, PARTITIONS)), "{there:?}");
    }

    /// The table's commits that are there, the oldest first.
    fn commits(&self) -> Vec<PathBuf> {
        let log = fs::read_dir(self.path("table/_delta_log")).unwrap().flatten().map(|entry| entry.path());
        let mut commits: Vec<PathBuf> =
            log.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
        commits.sort();
        commits
    }

    fn newest_commit(&self) -> PathBuf {
        self.commits().pop().expect("a table has commits")
    }
}

fn says(ended: &Ended, code: i32, texts: &[&str]) {
    assert_eq!(ended.code(), code, "{}", ended.stderr);
    for text in texts {
        assert!(ended.stderr.contains(text), "no `{text}` in {}", ended.stderr);
    }
}

fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            all.extend(contents(&path))
        } else {
            all.push((path.clone(), fs::read(&path).unwrap()))
        }
    }
    all.sort();
    all
}

#[test]
fn show_tells_what_a_checkpoint_knows_and_what_a_run_would_do() {
    let Some(broker) = Broker::shared() else { return };
    let stream = Stream::new(broker, "show", "");
    fs::write(stream.path("stream.yaml"), &stream.yaml).unwrap();
    says(&stream.command(&["show", "checkpoint"]), 2, &["holds no checkpoint"]);
    assert_eq!(stream.next(), "startFresh");
    stream.run(0, 300);
    let before = contents(stream.folder.path());

    let id = fs::read_to_string(stream.path("checkpoint/metadata")).unwrap();
    let shown = stream.show("checkpoint");
    assert!(id.contains(shown["queryId"].as_str().unwrap()));
    assert_eq!(
        (&shown["stream"], &shown["owner"], &shown["next"]["action"]),
        (&"w1".into(), &Value::Null, &"unknown".into())
    );
    let newest = shown["newestPlan"].as_i64().unwrap();
    assert_eq!(shown["newestCommit"], newest);
    assert_eq!(shown["batches"].as_array().unwrap().len() as i64, (newest + 1).min(5));
    assert_eq!(shown["batches"][0]["endOffset"][&stream.topic]["0"], broker.offsets(&stream.topic)[&0].1);
    assert_eq!(shown["batches"][0]["plannedBy"], "Alluvia");
    let text = stream.command(&["show", "stream.yaml", "--batches", "1"]).success().stdout;
    for part in [
        "query id",
        "w1",
        "no one runs the stream",
        &format!("plan micro-batch {}", newest + 1),
        "ends before",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert_eq!(text.lines().count(), 9, "one batch was asked for:\n{text}");
    assert_eq!(stream.next(), "plan");
    assert_eq!(contents(stream.folder.path()), before, "showing changes nothing");

    fs::remove_file(stream.path(&format!("checkpoint/commits/{newest}"))).unwrap();
    assert_eq!(stream.next(), "writeCommitLog");
    let commit = stream.newest_commit();
    fs::rename(&commit, stream.path("aside")).unwrap();
    assert_eq!(stream.next(), "rerun");
    fs::rename(stream.path("aside"), &commit).unwrap();
    fs::remove_file(stream.path(&format!("checkpoint/offsets/{newest}"))).unwrap();
    let refuses = stream.show("stream.yaml");
    assert_eq!(
        (&refuses["next"]["action"], &refuses["next"]["kind"]),
        (&"refuse".into(), &"corrupt".into()),
        "{refuses}"
    );
    assert!(refuses["next"]["message"].as_str().unwrap().contains("is older than table"), "{refuses}");
    let problem = |target: &str| stream.show(target)["problems"][0].as_str().unwrap_or_default().to_owned();
    fs::write(stream.path("checkpoint/metadata"), "{").unwrap();
    assert!(problem("checkpoint").contains("metadata is damaged"));
    fs::remove_file(stream.path("checkpoint/metadata")).unwrap();
    assert!(problem("checkpoint").contains("metadata is missing"));
    assert!(problem("stream.yaml").contains("metadata is missing"));
}

#[test]
fn show_lists_what_is_wrong_in_the_logs_without_a_stream_file() {
    let Some(broker) = Broker::shared() else { return };
    let stream = Stream::new(broker, "wrong", "");
    stream.run(0, 300);
    let newest = stream.newest();
    for batch in stream.show("checkpoint")["batches"].as_array().unwrap() {
        let time = |key: &str| batch[key].as_str().unwrap().to_owned();
        assert!(time("planned") <= time("committed"), "one clock: {batch}");
    }
    let commit = stream.path(&format!("checkpoint/commits/{newest}"));
    let whole = fs::read(&commit).unwrap();
    fs::write(&commit, "").unwrap();
    let batch = stream.show("checkpoint")["batches"][0].clone();
    assert_eq!((&batch["committed"], batch["planned"].is_string()), (&Value::Null, true), "{batch}");
    assert!(batch["problem"].as_str().unwrap().contains(&format!("commits/{newest} is empty")), "{batch}");
    fs::write(&commit, whole).unwrap();
    fs::remove_file(stream.path(&format!("checkpoint/offsets/{newest}"))).unwrap();
    let problem = stream.show("checkpoint")["problems"][0].to_string();
    assert!(problem.contains("lost entries of its offset log"), "{problem}");
}

#[test]
fn show_names_the_process_that_runs_the_stream() {
    let Some(broker) = Broker::shared() else { return };
    let mut stream = Stream::new(broker, "owner", "");
    stream.yaml = stream.yaml.replace("trigger: availableNow", "trigger: { processingTime: 100 ms }");
    broker.produce(&stream.topic, (0..10).map(|seq| Message::event(1, seq, PARTITIONS)));
    let running = Alluvia::run(&stream.yaml, stream.folder.path());
    running.wait_for("\"event\":\"progress\"", BOUND);
    let owner = stream.show("checkpoint")["owner"].as_str().expect("an owner").to_owned();
    assert!(owner.contains(&format!("process {}", running.pid())), "{owner}");
    says(&stream.command(&["rebuild", "stream.yaml"]), 5, &["stream w1 is run by process", "stop it before"]);
    running.terminate();
    running.wait(BOUND).success();
    assert_eq!(stream.show("checkpoint")["owner"], Value::Null);
}

#[test]
fn a_lost_checkpoint_is_rebuilt_and_the_stream_goes_on() {
    let Some(broker) = Broker::shared() else { return };
    let stream = Stream::new(broker, "lost", "");
    stream.run(0, 250);
    let (newest, id) = (stream.newest(), fs::read(stream.path("checkpoint/metadata")).unwrap());
    let plan = fs::read_to_string(stream.path(&format!("checkpoint/offsets/{newest}"))).unwrap();
    stream.lose();
    let dry = stream.command(&["rebuild", "stream.yaml", "--dry-run"]).success();
    assert!(dry.stdout.contains("would get") && dry.stdout.contains("alluvia/stream.json"), "{}", dry.stdout);
    assert!(!stream.path("checkpoint").exists(), "a dry run wrote something");
    let rebuilt = stream.command(&["rebuild", "stream.yaml", "--output", "json"]).success();
    let rebuilt: Value = serde_json::from_str(&rebuilt.stdout).unwrap();
    assert_eq!((&rebuilt["batchId"], &rebuilt["dryRun"]), (&newest.into(), &false.into()));
    assert_eq!(fs::read(stream.path("checkpoint/metadata")).unwrap(), id, "the query keeps its id");
    let anew = fs::read_to_string(stream.path(&format!("checkpoint/offsets/{newest}"))).unwrap();
    assert_eq!(anew, plan, "the plan is in the commit, to the letter");
    let again = stream.command(&["rebuild", "stream.yaml"]).success();
    assert!(again.stdout.contains("holds all of this already"), "{}", again.stdout);
    assert_eq!(stream.next(), "plan");
    stream.run(250, 400);
    assert_eq!(
        stream.show("checkpoint")["batches"].as_array().unwrap().last().unwrap()["batchId"],
        newest - 1
    );
    stream.assert_holds(400);
}

#[test]
fn a_rebuilt_checkpoint_knows_its_topic_by_the_id() {
    let Some(broker) = Broker::shared() else { return };
    let stream = Stream::new(broker, "anew", "");
    stream.run(0, 50);
    stream.lose();
    stream.command(&["rebuild", "stream.yaml"]).success();
    broker.delete_topic(&stream.topic);
    broker.create_topic(&stream.topic, PARTITIONS as i32, &[]);
    broker.produce(&stream.topic, (0..200).map(|seq| Message::event(1, seq, PARTITIONS)));
    says(&stream.refused(), 6, &["created again", "failOnDataLoss"]);
}

#[test]
fn a_checkpoint_older_than_its_table_is_moved_aside_and_rebuilt() {
    let Some(broker) = Broker::shared() else { return };
    let stream = Stream::new(broker, "older", "");
    stream.run(0, 50);
    fs::rename(stream.path("checkpoint"), stream.path("backup")).unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(stream.path("backup"))
        .arg(stream.path("checkpoint"))
        .status();
    assert!(copied.unwrap().success());
    stream.run(50, 300);
    stream.lose();
    fs::rename(stream.path("backup"), stream.path("checkpoint")).unwrap();
    says(&stream.refused(), 7, &["is older than table", "alluvia checkpoint rebuild"]);
    let before = contents(&stream.path("checkpoint"));
    let aside = format!("{0} to {0}.old", stream.path("checkpoint").display());
    says(&stream.command(&["rebuild", "stream.yaml"]), 2, &["is not empty", "move it aside", &aside]);
    assert_eq!(contents(&stream.path("checkpoint")), before, "nothing is overwritten");
    fs::rename(stream.path("checkpoint"), stream.path("checkpoint.old")).unwrap();
    stream.command(&["rebuild", "stream.yaml"]).success();
    stream.run(300, 400);
    stream.assert_holds(400);
}

#[test]
fn a_start_on_a_lost_checkpoint_is_refused_and_on_another_one_it_is_a_new_query() {
    let Some(broker) = Broker::shared() else { return };
    let mut stream = Stream::new(broker, "refused", "");
    stream.run(0, 150);
    stream.lose();
    let table = contents(&stream.path("table"));
    says(
        &stream.refused(),
        7,
        &["/checkpoint/ is empty", "micro-batch 1 of query", "alluvia checkpoint rebuild"],
    );
    fs::write(stream.path("stream.yaml"), &stream.yaml).unwrap();
    assert_eq!(stream.next(), "refuse");
    assert_eq!(contents(&stream.path("table")), table, "nothing was touched");
    stream.command(&["rebuild", "stream.yaml"]).success();
    stream.run(150, 200);
    stream.assert_holds(200);
    stream.yaml = stream.yaml.replace("./checkpoint", "./checkpoint-anew");
    Alluvia::run(&stream.yaml, stream.folder.path()).wait(BOUND).success();
    assert_eq!(delta_digest(&stream.path("table"), &COLUMNS).rows, 400, "read once more, on purpose");
}

#[test]
fn rebuilding_under_a_running_stream_that_has_not_committed_is_refused() {
    let Some(broker) = Broker::shared() else { return };
    let stream = Stream::new(broker, "held", "");
    stream.run(0, 50);
    stream.lose();
    // A stream that holds the lease and has written nothing yet.
    let lease = stream.path("checkpoint/alluvia/lease");
    fs::create_dir_all(&lease).unwrap();
    let holder = fs::File::create(lease.join("0000000000")).unwrap();
    holder.lock().unwrap();
    fs::write(stream.path("stream.yaml"), &stream.yaml).unwrap();
    let before = contents(&stream.path("checkpoint"));
    says(
        &stream.command(&["rebuild", "stream.yaml"]),
        5,
        &["stream w1 is run by", "stop it before rebuilding"],
    );
    assert_eq!(contents(&stream.path("checkpoint")), before);
    drop(holder);
    stream.command(&["rebuild", "stream.yaml"]).success();
    stream.run(50, 60);
    stream.assert_holds(60);
}

#[test]
fn of_several_queries_in_a_table_the_stream_is_told_by_its_name_and_checkpoint() {
    let Some(broker) = Broker::shared() else { return };
    let stream = Stream::new(broker, "several", "");
    stream.run(0, 100);
    let id = stream.show("checkpoint")["queryId"].as_str().unwrap().to_owned();
    let run_other = |name: &str| {
        let other = broker.topic("several-too", 1);
        broker.produce(&other, (0..10).map(|seq| Message::event(2, seq, 1)));
        let yaml = stream.yaml.replace(&stream.topic, &other).replace("./checkpoint", &format!("./{other}"));
        let yaml = yaml.replace("name: w1", &format!("name: {name}"));
        Alluvia::run(&yaml, stream.folder.path()).wait(BOUND).success();
        other
    };
    let rebuild = |yaml: String, more: &[&str]| {
        fs::write(stream.path("stream.yaml"), yaml).unwrap();
        let arguments: Vec<&str> =
            ["rebuild", "stream.yaml", "--dry-run"].iter().chain(more).copied().collect();
        stream.command(&arguments)
    };
    run_other("w2");
    stream.lose();
    assert!(rebuild(stream.yaml.clone(), &[]).success().stdout.contains(&id), "by its name");
    let same_name = run_other("w1");
    assert!(rebuild(stream.yaml.clone(), &[]).success().stdout.contains(&id), "by its checkpoint");
    let moved = stream.yaml.replace("./checkpoint", "./moved");
    says(
        &rebuild(moved.clone(), &[]),
        2,
        &["2 queries of stream w1 have written", "--query-id", &id, &same_name],
    );
    assert!(rebuild(moved, &["--query-id", &id]).success().stdout.contains(&id));
    says(&rebuild(stream.yaml.clone(), &["--query-id", "who"]), 2, &["for query who", &id]);
    let renamed = stream.yaml.replace("name: w1", "name: w3");
    says(&rebuild(renamed, &[]), 2, &["no commit of a stream named w3", "--query-id", &id, "stream w2"]);
    fs::write(stream.path("stream.yaml"), &stream.yaml).unwrap();
    stream.command(&["rebuild", "stream.yaml"]).success();
    stream.run(100, 200);
    let there = delta_digest(&stream.path("table"), &COLUMNS);
    assert_eq!((there.rows, there.distinct), (220, 220));
    assert_eq!(there.partitions.iter().map(|p| p.distinct_offsets).sum::<u64>(), 220);
}

#[test]
fn log_cleanup_keeps_what_a_stream_goes_on_and_a_lost_checkpoint_is_rebuilt_from() {
    let Some(broker) = Broker::shared() else { return };
    let properties = "path: ./table, tableProperties: { delta.checkpointInterval: '10', delta.logRetentionDuration: interval 0 seconds } }";
    let mut stream = Stream::new(broker, "cleanup", "");
    stream.yaml = stream.yaml.replace("path: ./table }", properties);
    stream.run(0, 250);
    let (newest, version) = (stream.newest(), stream.newest_commit());
    // Another stream goes on until nothing but that commit is left of the log's beginning.
    let other = broker.topic("cleanup-too", 1);
    let yaml = stream.yaml.replace(&stream.topic, &other).replace("./checkpoint", "./checkpoint2");
    let yaml = yaml.replace("name: w1", "name: w2").replace("Trigger: 100", "Trigger: 1");
    broker.produce(&other, (0..45).map(|seq| Message::event(2, seq, 1)));
    Alluvia::run(&yaml, stream.folder.path()).wait(BOUND).success();
    let log = stream.commits();
    assert_eq!(log[0], version, "the newest commit of the first stream stays");
    assert!(log[1] > log[1].with_file_name("00000000000000000020.json"), "{log:?}");
    fs::write(stream.path("stream.yaml"), &stream.yaml).unwrap();
    assert_eq!(stream.next(), "plan", "its commit is found behind the gap");
    fs::remove_file(stream.path(&format!("checkpoint/commits/{newest}"))).unwrap();
    let plan = stream.path(&format!("checkpoint/offsets/{newest}"));
    let text = fs::read_to_string(&plan).unwrap();
    let end = text.lines().last().unwrap();
    fs::write(&plan, text.replace(end, &end.replace("\"0\":", "\"0\":1"))).unwrap();
    assert_eq!(
        stream.next(),
        "refuse",
        "a plan that is not the commit's: its offsets were read behind the gap"
    );
    stream.lose();
    says(&stream.refused(), 7, &["is empty"]);
    stream.command(&["rebuild", "stream.yaml"]).success();
    assert_eq!(stream.newest(), newest);
    stream.run(250, 300);
    let there = delta_digest(&stream.path("table"), &COLUMNS);
    assert_eq!((there.rows, there.distinct), (345, 345));
}

#[test]
fn log_cleanup_keeps_a_damaged_commit_which_may_be_what_a_stream_goes_on_from() {
    let Some(broker) = Broker::shared() else { return };
    let properties = "path: ./table, tableProperties: { delta.checkpointInterval: '10', delta.logRetentionDuration: interval 0 seconds } }";
    let spoilt = |text: &str| text.replacen("{\"add\":{", "{\"add\":", 1);
    let cut = |text: &str| text[..text.len() - 20].to_owned();
    let damages: [&dyn Fn(&str) -> String; 2] = [&spoilt, &cut];
    for damage in damages {
        let mut stream = Stream::new(broker, "damaged", "");
        stream.yaml = stream.yaml.replace("path: ./table }", properties);
        stream.run(0, 50);
        let commit = stream.newest_commit();
        // Another stream, first until a checkpoint covers the commit, then until cleanup has come by it.
        let other = broker.topic("damaged-too", 1);
        let yaml = stream.yaml.replace(&stream.topic, &other).replace("./checkpoint", "./checkpoint2");
        let yaml = yaml.replace("name: w1", "name: w2").replace("Trigger: 100", "Trigger: 1");
        let go_on = |seqs: std::ops::Range<u64>| {
            broker.produce(&other, seqs.map(|seq| Message::event(2, seq, 1)));
            Alluvia::run(&yaml, stream.folder.path()).wait(BOUND).success()
        };
        go_on(0..15);
        fs::write(&commit, damage(&fs::read_to_string(&commit).unwrap())).unwrap();
        let said = go_on(15..45).stderr;
        let log = stream.commits();
        assert_eq!(log[0], commit);
        assert!(log[1] > log[1].with_file_name("00000000000000000020.json"), "{log:?}");
        let name = commit.file_name().unwrap().to_str().unwrap();
        assert!(said.contains("is not deleted") && said.contains(name), "{said}");
        stream.lose();
        says(&stream.refused(), 7, &[name, "damaged"]);
    }
}

#[test]
fn without_a_table_or_a_commit_of_alluvia_there_is_nothing_to_rebuild_from() {
    let Some(broker) = Broker::shared() else { return };
    let stream = Stream::new(broker, "nothing", "");
    fs::write(stream.path("stream.yaml"), &stream.yaml).unwrap();
    says(&stream.command(&["rebuild", "stream.yaml"]), 2, &["there is no table at"]);
    stream.run(0, 10);
    // The table as it was made, before the first micro-batch.
    fs::remove_file(stream.newest_commit()).unwrap();
    stream.lose();
    says(
        &stream.command(&["rebuild", "stream.yaml"]),
        2,
        &["holds no commit that Alluvia made", "startingOffsets"],
    );
    assert!(!stream.path("checkpoint").exists());
}

#[cfg(any(debug_assertions, feature = "failpoints"))]
#[test]
fn dead_letters_ahead_of_their_rows_are_planned_again() {
    let Some(broker) = Broker::shared() else { return };
    let stream = Stream::new(broker, "letters", "    deadLetter: { format: delta, path: ./dead }\n");
    stream.run(0, 50);
    broker.produce(
        &stream.topic,
        [Message::new("no JSON").partition(0), Message::new("nor this").partition(1)],
    );
    broker.produce(&stream.topic, (50..80).map(|seq| Message::event(1, seq, PARTITIONS)));
    let killed = Alluvia::run_with(
        &stream.yaml,
        stream.folder.path(),
        &[("ALLUVIA_FAILPOINTS", "letters.after=kill")],
    );
    assert!(!killed.wait(BOUND).status.success(), "it was killed before the rows' commit");
    let planned = stream.newest();
    let plan = stream.show("checkpoint")["batches"][0]["endOffset"].clone();
    stream.lose();
    broker.produce(&stream.topic, (80..90).map(|seq| Message::event(1, seq, PARTITIONS)));
    stream.command(&["rebuild", "stream.yaml"]).success();
    assert_eq!((stream.newest(), stream.next()), (planned, "rerun".into()));
    assert_eq!(stream.show("checkpoint")["batches"][0]["endOffset"], plan, "over the same offsets");
    stream.run(90, 100);
    let rows = delta_digest(&stream.path("table"), &COLUMNS);
    assert_eq!((rows.rows, rows.distinct), (100, 100));
    assert_eq!(delta_rows(&stream.path("dead"), &["partition", "offset"]).len(), 2);
}

#[test]
fn a_replay_of_dead_letters_is_not_taken_for_a_stream() {
    let Some(broker) = Broker::shared() else { return };
    let mut stream = Stream::new(broker, "replayed", "    deadLetter: { format: delta, path: ./dead }\n");
    stream.run(0, 20);
    broker.produce(&stream.topic, [Message::new("{seq: 7}").partition(0)]);
    stream.run(20, 30);
    let keep = "        keep:";
    stream.yaml =
        stream.yaml.replace(keep, &format!("        options: {{ allowUnquotedFieldNames: true }}\n{keep}"));
    fs::write(stream.path("stream.yaml"), &stream.yaml).unwrap();
    let replay =
        || Alluvia::start(["dead-letters", "replay", "stream.yaml"], stream.folder.path(), &[]).wait(BOUND);
    replay().success();
    let rows = || delta_digest(&stream.path("table"), &COLUMNS).rows;
    assert_eq!(rows(), 31, "the letter was replayed");
    stream.lose();
    stream.command(&["rebuild", "stream.yaml"]).success();
    stream.run(30, 40);
    assert_eq!(rows(), 41);
    says(&replay(), 7, &["is empty, but table"]);
    assert_eq!(rows(), 41, "what was replayed once is not replayed again");
}
