//! `alluvia sql`: a stream's query over its oldest records, to see what comes of it.

use arrow::json::LineDelimitedWriter;

use super::args::{OutputFormat, SqlArgs};
use super::{io_runtime, one_stream};
use crate::model::escape::escaped;
use crate::model::{Error, Result};
use crate::runtime::open::Access;
use crate::runtime::sample::{self, Sample};
use crate::sink::show_rows;

/// Prints the rows.
///
/// # Errors
/// As for the start of the stream; `Data` if nothing could be read because a record stops it.
pub(super) fn sql(args: &SqlArgs) -> Result<()> {
    let mut config = one_stream(&args.stream)?;
    let runtime = io_runtime()?;
    let access = Access { handle: runtime.handle().clone(), deadline: None };
    if let Some(query) = &args.query {
        config = sample::with_query(config, query, &access)?;
    }
    let Sample { schema, rows, records, rejected } = sample::sample(&config, args.sample, &access)?;
    match args.output.output {
        OutputFormat::Text => print!("{}", show_rows(&schema, &rows)?),
        OutputFormat::Json => {
            let mut writer = LineDelimitedWriter::new(std::io::stdout().lock());
            let failed = |error| Error::internal("cannot print rows as JSON").source(error);
            writer.write_batches(&rows.iter().collect::<Vec<_>>()).map_err(failed)?;
            writer.finish().map_err(failed)?;
        }
    }
    rejected.iter().for_each(|why| eprintln!("rejected: {}", escaped(why)));
    let made: usize = rows.iter().map(|rows| rows.num_rows()).sum();
    eprintln!("{records} records, {made} rows, {} rejected", rejected.len());
    Ok(())
}
