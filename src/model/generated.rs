//! The pages under `docs/reference/`, which are generated from tables of the code.

/// The note at the head of such a page.
pub const NOTE: &str =
    "<!-- Generated from the code; run `ALLUVIA_BLESS=1 cargo test --lib` to update. -->\n\n";

/// Compares a page with the file of that name; with `ALLUVIA_BLESS` it is written first.
#[cfg(test)]
pub(crate) fn assert_current(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(name);
    if std::env::var_os("ALLUVIA_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "docs/reference/{name} is not current; run ALLUVIA_BLESS=1 cargo test --lib");
}
