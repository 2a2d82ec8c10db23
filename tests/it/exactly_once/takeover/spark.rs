//! Spark's own streaming queries, run by `tests/rig/spark_stream.py`: one Spark serves the whole test binary.

use serde_json::Value;

use crate::rig::Spark;

/// The batches that Spark ran (with `numInputRows` and `endOffset`), or what it said instead.
pub fn query(query: &Value) -> Result<Vec<Value>, String> {
    static SPARK: Spark = Spark::serving("spark_stream.py");
    let answer = SPARK.ask(query);
    match answer["batches"].as_array() {
        Some(batches) => Ok(batches.clone()),
        None => Err(answer["error"].as_str().unwrap_or_default().to_owned()),
    }
}
