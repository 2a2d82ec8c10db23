//! The rows of a micro-batch from the lanes to the commit: in memory, and beyond a budget on local disk.
//!
//! Which rows are inserted is known once all lanes are done, and may change until the commit has held. So rows wait, with
//! their keys and places, and can be read as often as need be. What is on the disk lies in a file without a name: it is
//! gone with the process, however that ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use uuid::Uuid;

use crate::model::{Error, Result};

/// Rows of one lane, piece by piece in the order in which they came.
pub(super) struct Spool {
    schema: SchemaRef,
    folder: PathBuf,
    memory: Vec<RecordBatch>,
    memory_bytes: usize,
    limit_bytes: usize,
    disk: Option<StreamWriter<BufWriter<File>>>,
}

/// The rows of a lane that has ended.
#[derive(Debug)]
pub(crate) struct SpooledRows {
    disk: Option<File>,
    memory: Vec<RecordBatch>,
}

impl Spool {
    /// A spool that holds about `limit_bytes` in memory, and the rest in `folder`.
    pub(super) fn new(schema: SchemaRef, folder: &Path, limit_bytes: usize) -> Spool {
        Spool {
            schema,
            folder: folder.to_owned(),
            memory: Vec::new(),
            memory_bytes: 0,
            limit_bytes,
            disk: None,
        }
    }

    /// Takes rows.
    ///
    /// # Errors
    /// `Unavailable` if they can't be written to the disk.
    pub(super) fn push(&mut self, rows: RecordBatch) -> Result<()> {
        self.memory_bytes += rows.get_array_memory_size();
        self.memory.push(rows);
        if self.memory_bytes > self.limit_bytes { self.write_out() } else { Ok(()) }
    }

    /// Moves what is in memory to the disk.
    fn write_out(&mut self) -> Result<()> {
        let disk = match &mut self.disk {
            Some(disk) => disk,
            None => {
                let file = unnamed(&self.folder).map_err(unwritable)?;
                let options = IpcWriteOptions::default()
                    .try_with_compression(Some(CompressionType::LZ4_FRAME))
                    .map_err(|e| Error::internal("compress rows that wait").source(e))?;
                let writer = StreamWriter::try_new_with_options(BufWriter::new(file), &self.schema, options);
                self.disk.insert(writer.map_err(unwritable)?)
            }
        };
        for rows in self.memory.drain(..) {
            disk.write(&rows).map_err(unwritable)?;
        }
        self.memory_bytes = 0;
        Ok(())
    }

    /// Ends the lane's rows.
    ///
    /// # Errors
    /// As for [`Spool::push`].
    pub(super) fn finish(self) -> Result<SpooledRows> {
        let disk = match self.disk {
            None => None,
            Some(writer) => {
                let buffered = writer.into_inner().map_err(unwritable)?;
                Some(buffered.into_inner().map_err(|e| unwritable(e.into_error()))?)
            }
        };
        Ok(SpooledRows { disk, memory: self.memory })
    }
}

impl SpooledRows {
    /// Hands over the rows, piece by piece.
    ///
    /// # Errors
    /// `Unavailable` if they can't be read back, or what `each` returns.
    pub(super) fn read(&mut self, mut each: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        if let Some(file) = &mut self.disk {
            file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
            let rows = StreamReader::try_new(BufReader::new(&*file), None).map_err(unreadable)?;
            for rows in rows {
                each(rows.map_err(unreadable)?)?;
            }
        }
        self.memory.iter().try_for_each(|rows| each(rows.clone()))
    }
}

/// A file that has no name any more.
fn unnamed(folder: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("rows-{}", Uuid::new_v4()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(path)?;
    Ok(file)
}

fn unwritable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::unavailable("rows that wait for the merge cannot be written to the local disk")
        .source(error)
        .hint("give the folder of sink.merge.indexFolder room, or lower maxOffsetsPerTrigger")
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::unavailable("rows that wait for the merge cannot be read back from the local disk").source(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn rows(from: i64) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 100));
        RecordBatch::try_from_iter([("id", ids)]).unwrap()
    }

    #[test]
    fn rows_come_back_in_their_order_as_often_as_they_are_read_and_no_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        for limit_bytes in [0, 2_500, usize::MAX] {
            let mut spool = Spool::new(rows(0).schema(), folder.path(), limit_bytes);
            (0..7).for_each(|i| spool.push(rows(i * 100)).unwrap());
            let mut spooled = spool.finish().unwrap();
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
            for _ in 0..2 {
                let mut read = Vec::new();
                let take = |rows| {
                    read.push(rows);
                    Ok(())
                };
                spooled.read(take).unwrap();
                assert_eq!(read, (0..7).map(|i| rows(i * 100)).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_is_an_error_that_names_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let mut spool = Spool::new(rows(0).schema(), &file, 0);
        let error = spool.push(rows(0)).unwrap_err().to_string();
        assert!(error.contains("sink.merge.indexFolder"), "{error}");
    }
}
