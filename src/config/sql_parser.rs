//! `sql`, `views` and `tables` of a stream: what is computed of its rows.
//!
//! The text of a query is taken as it is; it is planned when the stream starts, with the columns of its tables.

use std::path::Path;

use super::columns;
use super::document::{Node, Value};
use super::keys;
use super::location;
use super::marks;
use super::option_lists;
use super::quantity;
use super::reader::{Fields, Reader, Text, join};
use super::stream::{TableConfig, ViewConfig};
use crate::decode::schema::StructType;
use crate::model::{Hidden, TableFormat};

/// The name of the stream's rows in a query.
const INPUT: &str = "input";

/// What is computed of a stream's rows.
#[derive(Default)]
pub(super) struct Sql {
    /// The query.
    pub(super) query: Option<String>,
    /// The views, in order.
    pub(super) views: Vec<ViewConfig>,
    /// The static tables.
    pub(super) tables: Vec<TableConfig>,
    /// What references in the texts of query and views stand for.
    pub(super) hidden: Hidden,
}

/// Reads the three keys of a stream.
pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>, stream: &str, base: &Path) -> Sql {
    let mut hidden = Hidden::default();
    let query = fields.text(reader, "sql").and_then(|text| {
        if text.value.trim().is_empty() {
            reader.refuse(&text, "a query is not empty");
            return None;
        }
        hide(&text, reader, &mut hidden);
        Some(text.value)
    });
    let views = views(reader, fields, &mut hidden);
    let sql = Sql { query, views, tables: tables(reader, fields, stream, base), hidden };
    for key in ["views", "tables"] {
        if let (None, Some(node)) = (fields.node("sql"), fields.node(key)) {
            let why = format!("{key} is there, but no sql that uses it");
            reader.problems.add_with_hint(&node.origin, &fields.path_of(key), why, "add sql");
        }
    }
    unique(reader, fields, &sql);
    sql
}

/// A query may hold a secret, such as a salt, and its words stand in messages about it.
fn hide(text: &Text, reader: &Reader<'_>, hidden: &mut Hidden) {
    for (value, shown) in text.values_inside(reader.lookup) {
        hidden.push(value, shown);
    }
}

fn views(reader: &mut Reader<'_>, fields: &Fields<'_>, hidden: &mut Hidden) -> Vec<ViewConfig> {
    let Some(node) = fields.node("views") else { return Vec::new() };
    let path = fields.path_of("views");
    let Value::List(items) = &node.value else {
        let why = format!("expected a list, found {}; each view begins with -", node.value.kind());
        reader.problems.add(&node.origin, &path, why);
        return Vec::new();
    };
    let mut views = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(view) = reader.fields(item, &format!("{path}[{index}]"), &keys::VIEW) else { continue };
        let name = view.parsed(reader, "name", relation);
        let sql = view.text(reader, "sql").map(|text| {
            hide(&text, reader, hidden);
            text.value
        });
        if let (Some(name), Some(sql)) = (name, sql) {
            views.push(ViewConfig { name, sql, marks: marks::read(reader, &view) });
        }
    }
    views
}

fn tables(reader: &mut Reader<'_>, fields: &Fields<'_>, stream: &str, base: &Path) -> Vec<TableConfig> {
    let Some(node) = fields.node("tables") else { return Vec::new() };
    let path = fields.path_of("tables");
    let mut tables = Vec::new();
    for entry in reader.entries(node, &path).unwrap_or_default() {
        let place = join(&path, &entry.key);
        match relation(&entry.key) {
            Ok(name) => tables.extend(table(reader, name, &entry.node, &place, stream, base)),
            Err(why) => reader.problems.add(&entry.origin, &place, why),
        }
    }
    tables
}

fn table(
    reader: &mut Reader<'_>,
    name: String,
    node: &Node,
    path: &str,
    stream: &str,
    base: &Path,
) -> Option<TableConfig> {
    let fields = reader.fields(node, path, &keys::TABLE)?;
    let words = [
        ("delta", TableFormat::Delta),
        ("parquet", TableFormat::Parquet),
        ("csv", TableFormat::Csv),
        ("json", TableFormat::Json),
    ];
    let format = fields.text(reader, "format").and_then(|text| reader.one_of(&text, &words));
    if fields.node("path").is_none() && fields.node("table").is_none() {
        reader.problems.add(&fields.origin, path, "the key path (or table) is missing");
    }
    let url = fields.parsed(reader, "path", |text| location::parse(text, base));
    let schema = fields.text(reader, "schema").and_then(|text| columns::ddl(reader, text));
    let schema = schema.and_then(|text| {
        reader.parse(&text, |text| match StructType::from_ddl(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(error.to_string()),
        })
    });
    let needs = matches!(format, Some(TableFormat::Csv | TableFormat::Json));
    if needs && fields.node("schema").is_none() {
        reader.problems.add(
            &fields.origin,
            path,
            "the key schema is missing: csv and json files name no types",
        );
    }
    let options = match fields.node("options") {
        Some(node) => {
            let path = fields.path_of("options");
            let entries = reader.entries(node, &path).unwrap_or_default();
            reader.options(entries, &path, option_lists::TABLE, stream)
        }
        None => Vec::new(),
    };
    let (mut header, mut separator) = (false, b',');
    for (row, text) in &options {
        match row.name {
            "header" => header = reader.parse(text, quantity::boolean)?,
            _ => separator = reader.parse(text, one_character)?,
        }
    }
    Some(TableConfig { name, format: format?, url: url?, schema, header, separator })
}

fn one_character(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [one] if one.is_ascii() => Ok(*one),
        _ if text == "\\t" => Ok(b'\t'),
        _ => Err("expected one ASCII character".into()),
    }
}

/// A name that a query can call a relation by without quotes.
fn relation(text: &str) -> Result<String, String> {
    let name = text.trim();
    let word = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if word { Ok(name.to_owned()) } else { Err("a name in sql has letters, digits and _".into()) }
}

/// A name means one relation, whatever its case.
fn unique(reader: &mut Reader<'_>, fields: &Fields<'_>, sql: &Sql) {
    let tables = sql.tables.iter().map(|table| ("tables", &table.name));
    let mut known = vec![INPUT.to_owned()];
    for (key, name) in tables.chain(sql.views.iter().map(|view| ("views", &view.name))) {
        if known.contains(&name.to_lowercase()) {
            let why = format!("two relations of sql are named {name}; case does not matter");
            reader.problems.add(&fields.origin, &fields.path_of(key), why);
        }
        known.push(name.to_lowercase());
    }
}
