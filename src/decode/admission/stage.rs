//! Admission as the last stage of a stream's pipeline.

use arrow::array::UInt32Array;
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;

use super::Admission;
use crate::decode::stage::{NextStage, RejectedRecord, Stage, StageFactory, StageRows};
use crate::model::{Error, Result};

impl StageFactory for Admission {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(self.target())
    }

    fn definition(&self) -> String {
        self.demands().to_owned()
    }

    fn stage(&self) -> Result<Box<dyn Stage>> {
        Ok(Box::new(AdmissionStage { admission: self.clone(), now: 0 }))
    }
}

/// The stage of one lane.
struct AdmissionStage {
    admission: Admission,
    now: i64,
}

impl Stage for AdmissionStage {
    fn set_now(&mut self, micros: i64) {
        self.now = micros;
    }

    fn apply(
        &mut self,
        rows: StageRows,
        rejected: &mut Vec<RejectedRecord>,
        next: &mut NextStage<'_>,
    ) -> Result<()> {
        let admitted = self.admission.admit(rows.batch(), self.now)?;
        let Some(kept) = admitted.kept else { return next(rows.with_columns(admitted.rows)?, rejected) };
        let mut records: Vec<RejectedRecord> =
            admitted.rejected.into_iter().map(|(row, why)| (rows.record_of(row), why)).collect();
        records.sort_by_key(|(record, _)| *record);
        records.dedup_by_key(|(record, _)| *record);
        // A record of several rows is rejected as a whole.
        let stays = |row: &u32| {
            let record = rows.record_of(*row as usize);
            records.binary_search_by_key(&record, |(rejected, _)| *rejected).is_err()
        };
        let places = (0_u32..).zip(kept.values()).filter(|(_, row)| stays(row)).map(|(place, _)| place);
        let places: UInt32Array = places.collect();
        let (made, kept) = if places.len() == kept.len() {
            (admitted.rows, kept.values().to_vec())
        } else {
            let made = take_record_batch(&admitted.rows, &places)
                .map_err(|e| Error::internal("leave out the other rows of a rejected record").source(e))?;
            (made, places.values().iter().map(|place| kept.value(*place as usize)).collect())
        };
        rejected.extend(records);
        next(rows.with_rows(made, &kept)?, rejected)
    }
}
