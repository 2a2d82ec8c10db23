//! The table of names in `src/decode/datetime/pattern` against the Java that it was made with.

use std::process::Command;

use crate::rig::skipped;

#[test]
fn the_table_of_names_is_what_java_17_says() {
    if skipped("Java 17") {
        return;
    }
    let root = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("java")
        .arg(format!("{root}/tests/rig/JavaNames.java"))
        .output()
        .expect("java starts; install a Java 17 runtime");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = std::fs::read(format!("{root}/src/decode/datetime/pattern/names.tsv")).unwrap();
    assert!(output.stdout == table, "write the program's output to names.tsv");
}
