//! What the files of `src` name of each other, read from their code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// The code of a file, without its unit tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The files of `src` by their names, and their code.
pub fn all() -> Vec<(String, String)> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut files = Vec::new();
    sources(root, &mut files);
    assert!(files.len() > 30, "the sources were not found");
    let name = |path: &PathBuf| path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
    files.iter().map(|path| (name(path), code(path))).collect()
}

/// The path of a module from the crate's root: `query`, `cast`.
pub type Module = Vec<String>;

/// Which module a file is: `query/cast/mod.rs` and `query/cast.rs` are both `query::cast`.
pub fn module_of(file: &str) -> Module {
    let name = file.trim_end_matches(".rs").trim_end_matches("/mod");
    name.split('/').map(str::to_owned).collect()
}

/// A path in code, and the name that it has there if it stands in a `use` with `as`.
pub type Named = (Vec<String>, Option<String>);

/// Reads the path that `code` begins with, or the paths if it ends in braces, each behind `prefix`; returns what follows.
fn read_path<'c>(mut code: &'c str, prefix: &[String], found: &mut Vec<Named>) -> &'c str {
    let mut path = prefix.to_vec();
    loop {
        let length = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
        let (word, rest) = code.split_at(length);
        if word != "self" || path.is_empty() {
            path.extend((!word.is_empty()).then(|| word.to_owned()));
        }
        code = rest;
        let Some(rest) = code.strip_prefix("::") else { break };
        code = rest;
        let Some(mut group) = code.strip_prefix('{') else { continue };
        loop {
            group = group.trim_start_matches(|c: char| c.is_whitespace() || c == ',' || c == '*');
            if group.is_empty() || group.starts_with('}') {
                return group.strip_prefix('}').unwrap_or_default();
            }
            let rest = read_path(group, &path, found);
            // Something that is no name, so that this ends whatever the code holds.
            let next = group.chars().next().map_or(0, char::len_utf8);
            group = if rest.len() == group.len() { &rest[next..] } else { rest };
        }
    }
    let name = code.strip_prefix(" as ").map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        code = &rest[end..];
        rest[..end].to_owned()
    });
    found.push((path, name));
    code
}

/// Every path of at least two names in code.
pub fn paths(code: &str) -> Vec<Named> {
    let (mut found, mut rest) = (Vec::new(), code);
    while let Some(at) = rest.find(|c: char| c.is_alphabetic() || c == '_') {
        let before = rest[..at].chars().next_back();
        rest = read_path(&rest[at..], &[], &mut found);
        if before == Some('\'') {
            // A lifetime.
            found.pop();
        }
    }
    found.retain(|(path, _)| path.len() > 1);
    found
}

/// The paths of the `use` declarations in code whose visibility `counts`: it is empty, `pub`, `pub(crate)` and so on.
fn declared(code: &str, counts: impl Fn(&str) -> bool) -> Vec<Named> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let before = code[..at].rsplit('\n').next().unwrap_or_default().trim();
        if (before.is_empty() || before.starts_with("pub")) && counts(before) {
            read_path(&code[at + "use ".len()..], &[], &mut found);
        }
    }
    found
}

/// The paths of the `use` declarations in code.
pub fn imports(code: &str) -> Vec<Named> {
    declared(code, |_| true)
}

/// The paths of the `use` declarations that pass a name on to others.
pub fn exports(code: &str) -> Vec<Named> {
    declared(code, |visibility| !visibility.is_empty())
}

/// What `path` means in `module`, from the crate's root; `None` if it leads out of the crate.
pub fn resolved(
    path: &[String],
    module: &Module,
    modules: &BTreeMap<Module, String>,
    names: &BTreeMap<String, Module>,
) -> Option<Module> {
    let first = path.first()?.as_str();
    let ups = path.iter().take_while(|word| *word == "super").count();
    let child = [module.as_slice(), &path[..1]].concat();
    Some(match first {
        "crate" => path[1..].to_vec(),
        "self" => [module.as_slice(), &path[1..]].concat(),
        "super" => [module.get(..module.len().checked_sub(ups)?)?, &path[ups..]].concat(),
        _ if modules.contains_key(&child) => [module.as_slice(), path].concat(),
        name => [names.get(name)?.as_slice(), &path[1..]].concat(),
    })
}

/// The names that a file's imports give it, and what they mean.
pub fn names_in(code: &str, module: &Module, modules: &BTreeMap<Module, String>) -> BTreeMap<String, Module> {
    let mut names = BTreeMap::new();
    // A second time for what is imported through a name that is imported below it.
    for _ in 0..2 {
        for (path, name) in imports(code) {
            let name = name.or_else(|| path.last().cloned());
            if let (Some(name), Some(target)) = (name, resolved(&path, module, modules, &names)) {
                names.insert(name, target);
            }
        }
    }
    names
}
