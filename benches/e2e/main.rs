//! The programs behind `make bench`, `make bench-merge`, `make bench-state` and `make bench-sql`: the topics of workloads W1 to W4, the
//! tables of W2, and the raw limit that Alluvia is measured against.
//!
//! `benches/e2e/run.py`, `merge.py`, `state.py` and `sql.py` start them, measure them from outside (wall, CPU, memory) and prints the table. No code of
//! Alluvia is used here: the raw limit is what the libraries alone can do.

mod fill;
mod raw_limit;
mod repeats;
mod table;
mod workload;

use std::error::Error;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
#[command(name = "e2e", about = "Programs of Alluvia's end-to-end benchmark; `make bench` runs them")]
struct Arguments {
    #[command(subcommand)]
    program: Option<Program>,
    /// `cargo bench` gives this to every benchmark; without a program nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Program {
    /// Makes the topic and sends events `first .. first + messages`, or leaves it alone when it holds just as many.
    Fill(fill::Fill),
    /// Writes a Delta table that holds the keys of events `0 .. keys`.
    Table(table::Table),
    /// Prints the events' schema as DDL.
    Schema,
    /// Consumes the whole topic with two clients, decodes by arrow-json, writes one Parquet file per client.
    RawLimit {
        #[arg(long)]
        bootstrap: String,
        #[arg(long)]
        topic: String,
        /// An existing folder for the Parquet files.
        #[arg(long)]
        out: PathBuf,
    },
}

fn main() -> Outcome<()> {
    match Arguments::parse().program {
        Some(Program::Fill(fill)) => fill.run(),
        Some(Program::Table(table)) => table.run(),
        Some(Program::RawLimit { bootstrap, topic, out }) => raw_limit::run(&bootstrap, &topic, &out),
        Some(Program::Schema) => {
            println!("{}", workload::SCHEMA_DDL);
            Ok(())
        }
        None => {
            println!(
                "run by `make bench`, `make bench-merge`, `make bench-state` and `make bench-sql`: benches/e2e/*.py"
            );
            Ok(())
        }
    }
}
