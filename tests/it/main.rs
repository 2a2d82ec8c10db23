//! The one integration test binary: the real program, a real broker, readers no one here wrote.
//!
//! One folder for each story: what a stream does (`streams`, `decoding`, `kafka`, `tables`, `merge`, `query`), that it does it
//! once (`exactly_once`), the same in Azure (`azure`), what people meet (`command_line`, `operating`), and the repository's
//! own rules (`house`). `rig` has the real parts that the tests run, `scene` the stream that most proofs run, and `fixtures`
//! the files of former versions.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::type_complexity,
    missing_docs,
    unreachable_pub,
    reason = "a test that fails says where; its steps are read from top to bottom"
)]

#[cfg(any(debug_assertions, feature = "failpoints"))]
mod azure;
mod command_line;
mod decoding;
mod exactly_once;
mod house;
mod kafka;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod merge;
mod operating;
mod query;
#[allow(dead_code, unused_imports)]
mod rig;
#[cfg_attr(not(any(debug_assertions, feature = "failpoints")), allow(dead_code))]
mod scene;
mod streams;
mod tables;
