//! What a lane does with what its reader delivers: decode, then the stream's stateless stages.
//!
//! The one place where a full batch is handed on. Nothing is dispatched or copied per record, unless a
//! stage can reject rows: then the records of the batch are kept beside it ([`super::provenance`]).

use arrow::array::RecordBatch;

use super::provenance::Provenance;
use crate::decode::json::{Outcome, Rejection};
use crate::decode::rows::{BATCH_BYTES, RowDecoder};
use crate::decode::stage::{self, RejectedRecord, Stage, StageRows};
use crate::model::{Error, Record, Result};
use crate::sink::RowPlaces;

/// Takes what comes out of a lane's pipeline.
pub trait Emit {
    /// Rows for the sink, and where each was read if the pipeline was asked to say so.
    ///
    /// # Errors
    /// Whatever the sink returns.
    fn rows(&mut self, rows: RecordBatch, places: Option<RowPlaces>) -> Result<()>;

    /// A record that is no row.
    ///
    /// # Errors
    /// `Data` if that stops the stream; whatever the dead letters' table returns.
    fn rejected(&mut self, record: &Record<'_>, why: &Rejection) -> Result<()>;

    /// A malformed record became a row all the same (PERMISSIVE).
    fn kept_malformed(&mut self);
}

/// What is kept of the records of a batch until it has passed the stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: no stage rejects a row.
    Nothing,
    /// Where they were read, for a message.
    Places,
    /// The records, for dead letters.
    Records,
}

/// The decoder and stages of one lane.
pub struct LanePipeline {
    /// `None` if the source has columns of its own.
    decoder: Option<RowDecoder>,
    stages: Stages,
}

/// The stages, and the records of the batch that is on its way to them.
struct Stages {
    stages: Vec<Box<dyn Stage>>,
    provenance: Option<Provenance>,
    rejected: Vec<RejectedRecord>,
    /// Whether the sink asks where each row was read.
    placed: bool,
}

impl LanePipeline {
    /// A pipeline; `keep` says what is kept of records for stages that may reject them.
    pub fn new(decoder: Option<RowDecoder>, stages: Vec<Box<dyn Stage>>, keep: Keep) -> LanePipeline {
        let keep = if decoder.is_some() { keep } else { Keep::Nothing };
        let provenance = match keep {
            Keep::Nothing => None,
            Keep::Places => Some(Provenance::new(false)),
            Keep::Records => Some(Provenance::new(true)),
        };
        LanePipeline { decoder, stages: Stages { stages, provenance, rejected: Vec::new(), placed: false } }
    }

    /// Hands rows on from `bytes` on, where memory is short.
    pub fn limit_bytes(&mut self, bytes: usize) {
        if let Some(decoder) = &mut self.decoder {
            decoder.limit_bytes(bytes);
        }
    }

    /// Fixes the clock of the micro-batch, in microseconds since the Unix epoch.
    pub fn set_now(&mut self, micros: i64) {
        if let Some(decoder) = &mut self.decoder {
            decoder.set_now(micros);
        }
        self.stages.stages.iter_mut().for_each(|stage| stage.set_now(micros));
    }

    /// Says from now on, or no more, where each row was read; not of a source that has columns.
    pub fn set_placed(&mut self, placed: bool) {
        self.stages.placed = placed && self.decoder.is_some();
        if self.stages.placed && self.stages.provenance.is_none() {
            self.stages.provenance = Some(Provenance::new(false));
        }
    }

    /// Whether a stage may still reject a record that was decoded.
    pub fn may_reject_later(&self) -> bool {
        self.decoder.is_some() && !self.stages.stages.is_empty()
    }

    /// Takes a record.
    ///
    /// # Errors
    /// What `emit` returns.
    pub fn push(&mut self, record: &Record<'_>, emit: &mut impl Emit) -> Result<()> {
        let Some(decoder) = &mut self.decoder else {
            return Err(Error::internal("a source of columns delivered a record"));
        };
        let stages = &mut self.stages;
        if stages.provenance.as_ref().is_some_and(|kept| kept.bytes() >= BATCH_BYTES) {
            stages.flush(decoder, emit)?;
        }
        match decoder.push_making_room(record, |decoder| stages.flush(decoder, emit))? {
            Outcome::Row => {}
            Outcome::KeptMalformed(_) => emit.kept_malformed(),
            Outcome::Rejected(why) => return emit.rejected(record, &why),
            Outcome::Full => return Err(Error::internal("a batch with room for a record was full")),
        }
        if let Some(provenance) = &mut stages.provenance {
            provenance.push(record);
        }
        Ok(())
    }

    /// Takes rows of a source that has columns.
    ///
    /// # Errors
    /// What `emit` returns; `Data` if a stage rejects a row, for there is no record to keep.
    pub fn push_rows(&mut self, rows: RecordBatch, emit: &mut impl Emit) -> Result<()> {
        self.stages.apply(rows, emit)
    }

    /// Hands on what is left.
    ///
    /// # Errors
    /// What `emit` returns.
    pub fn flush(&mut self, emit: &mut impl Emit) -> Result<()> {
        match &mut self.decoder {
            Some(decoder) => self.stages.flush(decoder, emit),
            None => Ok(()),
        }
    }

    /// Drops what is left of a failed run.
    pub fn clear(&mut self) {
        if let Some(decoder) = &mut self.decoder {
            // What cannot be made a batch is dropped with it.
            let _ = decoder.finish();
        }
        if let Some(provenance) = &mut self.stages.provenance {
            provenance.clear();
        }
        self.stages.rejected.clear();
    }
}

impl Stages {
    fn flush(&mut self, decoder: &mut RowDecoder, emit: &mut impl Emit) -> Result<()> {
        if decoder.rows() == 0 {
            return Ok(());
        }
        let rows = decoder.finish()?;
        let done = self.apply(rows, emit);
        if let Some(provenance) = &mut self.provenance {
            provenance.clear();
        }
        done
    }

    fn apply(&mut self, rows: RecordBatch, emit: &mut impl Emit) -> Result<()> {
        let Stages { stages, provenance, rejected, placed } = self;
        stage::pass(stages, StageRows::decoded(rows), rejected, &mut |rows, _| {
            if rows.batch().num_rows() == 0 {
                return Ok(());
            }
            let places = match provenance {
                Some(provenance) if *placed => Some(provenance.places(&rows)?),
                _ => None,
            };
            emit.rows(rows.into_batch(), places)
        })?;
        for (record, why) in self.rejected.drain(..) {
            let known = self.provenance.as_ref();
            let rejected = known.and_then(|kept| kept.visit(record, |record| emit.rejected(record, &why)));
            rejected.unwrap_or_else(|| Err(Error::data(format!("a row of the source is refused: {why}"))))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, BooleanArray};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::decode::json::RejectionCode;
    use crate::decode::stage::NextStage;
    use crate::model::{RecordColumn, TimestampType};

    /// Rejects records at odd offsets.
    struct EvenOnly;

    impl Stage for EvenOnly {
        fn apply(
            &mut self,
            rows: StageRows,
            rejected: &mut Vec<RejectedRecord>,
            next: &mut NextStage<'_>,
        ) -> Result<()> {
            let offsets = rows.batch().column(0).as_primitive::<Int64Type>();
            let even: BooleanArray = offsets.values().iter().map(|offset| Some(offset % 2 == 0)).collect();
            let code = RejectionCode::NotNullViolation;
            for row in (0..even.len()).filter(|row| !even.value(*row)) {
                let why = Rejection { code, field: None, message: "odd".into() };
                rejected.push((rows.record_of(row), why));
            }
            next(rows.retain(&even)?, rejected)
        }
    }

    #[derive(Default)]
    struct Out {
        rows: Vec<i64>,
        places: Vec<RowPlaces>,
        rejected: Vec<(i64, Option<Vec<u8>>)>,
    }

    impl Emit for Out {
        fn rows(&mut self, rows: RecordBatch, places: Option<RowPlaces>) -> Result<()> {
            self.places.extend(places);
            self.rows.extend(rows.column(0).as_primitive::<Int64Type>().values());
            Ok(())
        }

        fn rejected(&mut self, record: &Record<'_>, _: &Rejection) -> Result<()> {
            self.rejected.push((record.offset, record.value.map(<[u8]>::to_vec)));
            Ok(())
        }

        fn kept_malformed(&mut self) {}
    }

    fn record(offset: i64) -> Record<'static> {
        Record {
            topic: "t",
            partition: 0,
            offset,
            timestamp_ms: 0,
            timestamp_type: TimestampType::None,
            key: None,
            value: Some(b"bytes"),
            headers: None,
        }
    }

    fn pipeline(keep: Keep, stages: usize) -> LanePipeline {
        let decoder = RowDecoder::new(None, &[RecordColumn::Offset]).unwrap();
        let stages = (0..stages).map(|_| Box::new(EvenOnly) as Box<dyn Stage>).collect();
        LanePipeline::new(Some(decoder), stages, keep)
    }

    #[test]
    fn a_late_stage_rejects_single_records_whole_and_the_others_go_on() {
        for (keep, value) in [(Keep::Records, Some(b"bytes".to_vec())), (Keep::Places, None)] {
            let (mut pipeline, mut out) = (pipeline(keep, 2), Out::default());
            pipeline.limit_bytes(60);
            assert!(pipeline.may_reject_later());
            for offset in 0..10 {
                pipeline.push(&record(offset), &mut out).unwrap();
            }
            pipeline.flush(&mut out).unwrap();
            assert_eq!(out.rows, [0, 2, 4, 6, 8]);
            assert_eq!(out.rejected, [1, 3, 5, 7, 9].map(|offset| (offset, value.clone())));
        }
    }

    #[test]
    fn a_sink_that_asks_is_told_where_each_row_was_read() {
        for stages in [0, 1] {
            let (mut pipeline, mut out) = (pipeline(Keep::Nothing, stages), Out::default());
            pipeline.set_placed(true);
            assert_eq!(pipeline.may_reject_later(), stages > 0);
            for (partition, offset) in [(0, 4), (1, 6), (0, 5), (1, 8)] {
                pipeline.push(&Record { partition, ..record(offset) }, &mut out).unwrap();
            }
            pipeline.flush(&mut out).unwrap();
            let places: Vec<(i32, i64)> = (0..out.rows.len())
                .map(|row| out.places[0].get(row))
                .map(|(log, offset)| (out.places[0].logs()[log].partition, offset))
                .collect();
            let all = [(0, 4), (1, 6), (0, 5), (1, 8)];
            let expected: Vec<_> =
                all.into_iter().filter(|(_, offset)| stages == 0 || offset % 2 == 0).collect();
            assert_eq!(places, expected);
        }
    }

    #[test]
    fn without_stages_nothing_is_kept_and_rows_of_a_source_pass() {
        let (mut plain, mut out) = (pipeline(Keep::Nothing, 0), Out::default());
        assert!(!plain.may_reject_later());
        plain.push(&record(3), &mut out).unwrap();
        plain.clear();
        plain.flush(&mut out).unwrap();
        assert!(out.rows.is_empty(), "what a failed run left is dropped");
        let mut decoder = RowDecoder::new(None, &[RecordColumn::Offset]).unwrap();
        decoder.push(&record(4));
        let rows = decoder.finish().unwrap();
        let mut columns = LanePipeline::new(None, Vec::new(), Keep::Records);
        columns.push_rows(rows.clone(), &mut out).unwrap();
        assert_eq!(out.rows, [4]);
        let mut picky = LanePipeline::new(None, vec![Box::new(EvenOnly)], Keep::Records);
        picky.push_rows(rows, &mut out).unwrap();
        assert!(picky.push(&record(1), &mut out).is_err(), "it takes no records");
    }
}
