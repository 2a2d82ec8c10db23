//! The tables of names in `src/decode/datetime/pattern` against the Java that they were made with.

use std::process::Command;

use crate::rig::skipped;

#[test]
fn the_tables_of_names_are_what_java_17_says() {
    if skipped("Java 17") {
        return;
    }
    let root = env!("CARGO_MANIFEST_DIR");
    for (program, table) in [("JavaNames", "names.tsv"), ("JavaZoneNames", "zone_names.tsv")] {
        let output = Command::new("java")
            .arg(format!("{root}/tests/rig/{program}.java"))
            .output()
            .expect("java starts; install a Java 17 runtime");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let there = std::fs::read(format!("{root}/src/decode/datetime/pattern/{table}")).unwrap();
        assert!(output.stdout == there, "write what {program} prints to {table}");
    }
}
