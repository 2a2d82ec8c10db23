//! A case's micro-batches, run one after the other as Spark plans them: with data, and without where one is due.

use std::collections::BTreeMap;
use std::sync::Arc;

use alluvia::query::{
    Answer as Result_, Failure, Feed, OperatorProgress, Query, Runner, TableRows, WatermarkTracker,
    Watermarks,
};
use alluvia::state::MemoryState;
use arrow::array::RecordBatch;
use serde_json::Value;

use super::{Answer, Case, Verdict, class_matches, rows, value};
use alluvia::decode::schema::StructType;

/// A query between its batches.
struct Stream<'a> {
    case: &'a Case,
    runner: Runner,
    tables: BTreeMap<&'a String, (usize, Vec<Value>)>,
    state: MemoryState,
    tracker: WatermarkTracker,
    /// The watermarks of the batch before and of the next one.
    watermarks: Watermarks,
    next_batch: usize,
    /// Whether a batch was run since the last start.
    has_run: bool,
    expected: std::slice::Iter<'a, Answer>,
}

enum End {
    /// The query failed as Spark's does.
    Failed,
    Wrong(String),
}

impl Case {
    pub(super) fn answers(&self, query: Query) -> Verdict {
        let mut stream = Stream {
            case: self,
            tracker: query.watermark_tracker(0),
            runner: Runner::new(query),
            tables: self.tables.iter().map(|(name, table)| (name, (0, table.rows.clone()))).collect(),
            state: MemoryState::default(),
            watermarks: Watermarks::default(),
            next_batch: 0,
            has_run: false,
            expected: self.expected.batches.iter(),
        };
        match stream.run() {
            Ok(()) => match &self.expected.error {
                Some(error) => Verdict::Wrong(format!("no batch failed, expected {}", error.class)),
                None if stream.expected.len() > 0 => {
                    Verdict::Wrong(format!("{} more micro-batches are expected", stream.expected.len()))
                }
                None => Verdict::Passed,
            },
            Err(End::Failed) => Verdict::Passed,
            Err(End::Wrong(why)) => Verdict::Wrong(why),
        }
    }
}

impl Stream<'_> {
    fn run(&mut self) -> Result<(), End> {
        let last = self.case.batches.len() - 1;
        for (number, batch) in self.case.batches.iter().enumerate() {
            for (name, rows) in self.case.tables_at_batch.get(&number.to_string()).into_iter().flatten() {
                self.tables.insert(name, (number, rows.clone()));
            }
            self.batch(Some((number, batch)))?;
            let idle = batch.get("idleAfter").and_then(Value::as_bool).unwrap_or_default();
            if self.case.restart_after_batch == Some(number) {
                if idle {
                    self.run_dry()?;
                }
                self.restart()?;
                if number == last {
                    self.run_dry()?;
                }
            } else if idle || number == last {
                self.run_dry()?;
            }
        }
        Ok(())
    }

    /// Runs the batch without data that is due once nothing more comes.
    fn run_dry(&mut self) -> Result<(), End> {
        let moved = self.watermarks.now > self.watermarks.before;
        if self.has_run && moved && self.runner.query().wants_empty_batch() {
            self.batch(None)?;
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), End> {
        let Ok(query) = self.case.plan() else {
            return Err(End::Wrong("not planned after a restart".into()));
        };
        self.tracker = query.watermark_tracker(self.watermarks.now);
        self.runner = Runner::new(query);
        self.has_run = false;
        Ok(())
    }

    fn contents(&self) -> Vec<TableRows> {
        let one = |(place, (name, table)): (usize, (&String, &super::Table))| {
            let schema = StructType::from_ddl(&table.schema).unwrap();
            let (version, content) = &self.tables[name];
            let columns = self.runner.query().table_columns(place).unwrap_or_default();
            let batch = rows(&schema, content).project(&columns).unwrap();
            TableRows { version: version.to_string(), batches: Arc::new(vec![batch]), held: None }
        };
        self.case.tables.iter().enumerate().map(one).collect()
    }

    fn input(
        &self,
        stream: usize,
        batch: Option<&BTreeMap<String, Value>>,
        columns: &[usize],
    ) -> RecordBatch {
        let (name, source) = self.case.sources.iter().nth(stream).expect("a source of the case");
        let given = batch.and_then(|batch| batch.get(name)).and_then(Value::as_array);
        let schema = StructType::from_ddl(&source.schema).unwrap();
        rows(&schema, given.map_or(&[], Vec::as_slice)).project(columns).unwrap()
    }

    fn batch(&mut self, input: Option<(usize, &BTreeMap<String, Value>)>) -> Result<(), End> {
        let id = self.next_batch;
        if self.case.fail_sink_at_batch == Some(id) {
            // The first attempt is lost with its state; the second is what counts.
            let kept = self.state.clone();
            self.attempt(input)?;
            self.state = kept;
            self.restart()?;
        }
        let result = match self.attempt(input)? {
            Some(result) => result,
            None => return Err(End::Failed),
        };
        let number = input.map(|(number, _)| number);
        self.compare(id, number, &result)?;
        let next = self.tracker.advance(&result.2);
        self.watermarks = Watermarks { before: self.watermarks.now, now: next };
        self.next_batch += 1;
        self.has_run = true;
        Ok(())
    }

    /// Runs a batch; `None` if it fails as Spark's does.
    #[allow(clippy::type_complexity)]
    fn attempt(
        &mut self,
        input: Option<(usize, &BTreeMap<String, Value>)>,
    ) -> Result<Option<(Vec<RecordBatch>, Vec<OperatorProgress>, Vec<alluvia::query::EventTimes>)>, End> {
        let contents = self.contents();
        let run = self.runner.begin(0, &contents).unwrap();
        let query = self.runner.query();
        let batch = input.map(|(_, batch)| batch);
        let mut state = self.state.begin();
        let made = if let Some(stateful) = run.stateful() {
            let streams = (0..self.case.sources.len())
                .map(|stream| vec![self.input(stream, batch, &query.stream_columns(stream))])
                .collect();
            stateful.run(query, &mut state, Feed::Streams(streams), self.watermarks)
        } else {
            let inputs: Vec<_> = (0..self.case.sources.len())
                .map(|stream| self.input(stream, batch, &query.stream_columns(stream)))
                .collect();
            run.streams(inputs).map(|rows| Result_ { rows, operators: Vec::new() })
        };
        let error = self.case.expected.error.as_ref();
        match made {
            Ok(made) => {
                let failing = error.filter(|error| error.batch_id == Some(self.next_batch));
                if let Some(error) = failing {
                    return Err(End::Wrong(format!(
                        "batch {} gives rows, expected {}",
                        self.next_batch, error.class
                    )));
                }
                let times = run.event_times(query);
                self.state.commit(state);
                Ok(Some((made.rows, made.operators, times)))
            }
            Err(failure) => {
                let said = match &failure {
                    Failure::Expression(error) => error.to_string(),
                    Failure::Other(error) => error.to_string(),
                };
                let expected = error.filter(|error| class_matches(&said, &error.class));
                let here = expected.filter(|error| error.batch_id.is_none_or(|id| id == self.next_batch));
                match here {
                    Some(_) if self.expected.len() == 0 => Ok(None),
                    _ => Err(End::Wrong(format!("batch {}: {said}", self.next_batch))),
                }
            }
        }
    }

    fn compare(
        &mut self,
        id: usize,
        input: Option<usize>,
        (made, operators, _): &(Vec<RecordBatch>, Vec<OperatorProgress>, Vec<alluvia::query::EventTimes>),
    ) -> Result<(), End> {
        let wrong = |what: String| Err(End::Wrong(format!("batch {id}: {what}")));
        let Some(answer) = self.expected.next() else {
            return wrong(format!("is not expected (input {input:?})"));
        };
        if answer.batch_id != id || answer.input != input || answer.no_data != input.is_none() {
            return wrong(format!(
                "is of input {input:?}, expected batch {} of {:?}",
                answer.batch_id, answer.input
            ));
        }
        if let Some(expected) = &answer.watermark {
            let now = chrono::DateTime::from_timestamp_millis(self.watermarks.now).expect("a time");
            let expected: chrono::DateTime<chrono::Utc> = expected.parse().expect("a watermark");
            if now != expected {
                return wrong(format!("runs with the watermark {now}, expected {expected}"));
            }
        }
        let schema = self.runner.query().output();
        let one = |batch: &RecordBatch| -> Vec<Value> {
            (0..batch.num_rows()).map(|n| value::row(schema, batch.columns(), n)).collect()
        };
        let mut found: Vec<Value> = made.iter().flat_map(one).collect();
        for (at, wanted) in answer.rows.iter().enumerate() {
            let same = |row: &Value| value::same(row, wanted, self.case.float_tolerance);
            let place = if self.case.ordered {
                found.first().filter(|row| same(row)).map(|_| 0)
            } else {
                found.iter().position(same)
            };
            match place {
                Some(place) => drop(found.remove(place)),
                None => {
                    let near: Vec<String> = found.iter().take(3).map(Value::to_string).collect();
                    return wrong(format!(
                        "row {at}: expected {wanted:.600}, found {:.900}",
                        near.join(" | ")
                    ));
                }
            }
        }
        if let Some(row) = found.first() {
            return wrong(format!("unexpected {row}"));
        }
        let total: u64 = operators.iter().map(|operator| operator.num_rows_total).sum();
        if !operators.is_empty() && total != answer.state_rows_total {
            return wrong(format!("{total} keys in the state, expected {}", answer.state_rows_total));
        }
        let dropped: u64 = operators.iter().map(|operator| operator.num_rows_dropped_by_watermark).sum();
        if dropped != answer.num_rows_dropped_by_watermark {
            return wrong(format!("{dropped} late, expected {}", answer.num_rows_dropped_by_watermark));
        }
        Ok(())
    }
}
