//! Imports point one way: `transport` and `protocol` stand alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A module's file and the files below it.
fn files(module: &str) -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![src.join(format!("{module}.rs"))];
    let mut dirs = vec![src.join(module)];
    while let Some(dir) = dirs.pop() {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let (below, beside): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
        dirs.extend(below);
        files.extend(beside);
    }
    assert!(files.len() > 3, "{module} has too few files to be read rightly");
    files
}

#[test]
fn transport_and_protocol_import_nothing_of_ours() {
    for file in files("transport").into_iter().chain(files("protocol")) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("crate::"), "{} reaches outside of its module", file.display());
    }
}

#[test]
fn the_transport_knows_nothing_of_flower() {
    for file in files("transport") {
        let text = fs::read_to_string(&file).unwrap().replace("flower_iroh_funnel::", "");
        assert!(!text.to_lowercase().contains("flower"), "{} speaks of Flower", file.display());
    }
}

/// The modules that a file imports from the crate: `a` and `b` of `crate::a::X` and `crate::{a::X, b::{Y, Z}}`.
fn imports(text: &str) -> Vec<String> {
    text.split("crate::")
        .skip(1)
        .flat_map(|path| if path.starts_with('{') { group(path) } else { vec![name(path)] })
        .collect()
}

fn name(path: &str) -> String {
    path.trim_start().chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}

fn group(path: &str) -> Vec<String> {
    let (mut depth, mut names) = (0, Vec::new());
    for (at, char) in path.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 1 && matches!(char, '{' | ',') {
            names.push(name(&path[at + 1..]));
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn a_node_needs_no_funnel() {
    for (module, allowed) in [("node", &["node", "object", "proto", "transport"][..]), ("object", &["object", "proto"])]
    {
        for file in files(module) {
            let text = fs::read_to_string(&file).unwrap();
            for import in imports(&text) {
                assert!(allowed.contains(&&*import), "{} imports {import}", file.display());
            }
        }
    }
}
