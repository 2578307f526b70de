//! The table of imports in `docs/ARCHITECTURE.md` against the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// For each module at the top of `src`, the others that it imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// The code spans of a cell: `error` and `domain` in "`error`, `domain`".
fn names(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The rows of the table.
fn documented() -> Imports {
    let document = fs::read_to_string(Path::new(ROOT).join("docs/ARCHITECTURE.md")).unwrap();
    let rows = document
        .lines()
        .skip_while(|line| !line.starts_with("| module | may import |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut imports = Imports::new();
    for row in rows {
        let [_, modules, may, _] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("not two cells: {row}");
        };
        for module in names(modules) {
            imports.insert(module, names(may).collect());
        }
    }
    imports
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
}

/// The modules named after `crate::` in a file, outside of comments and of its unit tests.
fn imported(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|path| path.split(|c: char| c != '_' && !c.is_alphanumeric()))
        .filter_map(|mut words| words.next().map(str::to_owned))
        .collect()
}

/// What the files of `src` import.
fn actual() -> Imports {
    let source = Path::new(ROOT).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut imports = Imports::new();
    for path in files {
        let inside = path.strip_prefix(&source).unwrap();
        let first = inside.components().next().unwrap().as_os_str();
        let module = first.to_str().unwrap().trim_end_matches(".rs").to_owned();
        if module == "lib" || module == "main" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let others = imported(&text).into_iter().filter(|it| *it != module);
        imports.entry(module.clone()).or_default().extend(others);
    }
    for others in imports.clone().values() {
        let unknown = others.iter().find(|it| !imports.contains_key(*it));
        assert_eq!(unknown, None, "an import not recognised");
    }
    imports
}

#[test]
fn modules_import_what_the_architecture_allows() {
    assert_eq!(actual(), documented());
}

#[test]
fn imports_form_no_circle() {
    let mut left = actual();
    while !left.is_empty() {
        let free: Vec<_> = left
            .iter()
            .filter(|(_, others)| !others.iter().any(|it| left.contains_key(it)))
            .map(|(module, _)| module.clone())
            .collect();
        assert!(!free.is_empty(), "each imports another of these: {left:?}");
        left.retain(|module, _| !free.contains(module));
    }
}
