//! Imports point one way: every module of `src/lib.rs` imports only what its row allows, and rows only look down.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Every module at the top of `src`, from the top down, with the modules it may import. A module imports only what stands
/// below it, so there are no circles.
const ROWS: &[(&str, &[&str])] = &[
    ("fuzzing", &["admission", "call", "node", "protocol", "tunnel"]),
    (
        "funnel",
        &[
            "address_lookup",
            "admission",
            "call",
            "config",
            "control",
            "descriptors",
            "error",
            "grpc_server",
            "identity",
            "protocol",
            "report",
            "tls",
            "transport",
            "tunnel",
            "upstream",
        ],
    ),
    ("grpc_server", &["call", "descriptors", "hop", "report", "tls", "transport", "tunnel"]),
    ("call", &["admission", "config", "hop", "protocol", "report", "tls", "transport", "tunnel", "upstream"]),
    ("relay", &["admission", "config", "error", "protocol", "report", "tls", "transport"]),
    ("error", &["admission", "config", "identity", "protocol", "tunnel"]),
    ("tunnel", &["address_lookup", "admission", "hop", "protocol", "report", "transport"]),
    ("config", &["ALPN", "address_lookup", "admission", "atomic_file", "protocol", "tls", "transport", "upstream"]),
    ("upstream", &["admission", "hop", "protocol", "report", "tls"]),
    ("admission", &["address_lookup", "atomic_file", "descriptors", "protocol", "report", "transport"]),
    ("address_lookup", &["atomic_file", "protocol", "report", "transport"]),
    ("control", &["atomic_file", "descriptors", "report"]),
    ("hop", &["protocol", "report", "transport"]),
    ("tls", &["atomic_file", "protocol"]),
    ("identity", &["atomic_file"]),
    ("node", &["object", "proto", "transport"]),
    ("object", &["proto"]),
    ("atomic_file", &[]),
    ("descriptors", &[]),
    ("report", &[]),
    ("protocol", &[]),
    ("transport", &[]),
    ("proto", &[]),
];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules that `lib.rs` declares, in its order.
fn declared() -> Vec<String> {
    let lib = fs::read_to_string(src().join("lib.rs")).unwrap();
    let names = lib.lines().filter_map(|line| {
        let rest = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ")?;
        rest.strip_suffix(';').map(str::to_owned)
    });
    names.collect()
}

/// A module's file and the files below it.
fn files(module: &str) -> Vec<PathBuf> {
    let mut files = vec![src().join(format!("{module}.rs"))];
    let mut dirs: Vec<_> = Some(src().join(module)).filter(|dir| dir.is_dir()).into_iter().collect();
    while let Some(dir) = dirs.pop() {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let (below, beside): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
        dirs.extend(below);
        files.extend(beside);
    }
    files
}

/// The names that follow `crate::` in a text, also those in braces.
fn imported(text: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => names.extend(heads(list)),
            None => names.extend(head(rest)),
        }
    }
    names
}

fn head(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    Some(&text[..end]).filter(|name| !name.is_empty())
}

/// The first name of each item of a list, up to the brace that closes it.
fn heads(list: &str) -> Vec<&str> {
    let (mut heads, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                heads.extend(head(&list[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                heads.extend(head(&list[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    heads
}

/// What each module imports, with one of the files that does.
fn imports_of(module: &str) -> BTreeMap<String, PathBuf> {
    let mut imports = BTreeMap::new();
    for file in files(module) {
        let text = fs::read_to_string(&file).unwrap();
        // Links of documentation lead anywhere.
        let code: String =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).fold(String::new(), |mut code, line| {
                code.push_str(line);
                code.push('\n');
                code
            });
        for name in imported(&code).into_iter().filter(|name| *name != module) {
            imports.insert(name.to_owned(), file.clone());
        }
    }
    imports
}

#[test]
fn every_module_has_a_row() {
    let rows: BTreeSet<_> = ROWS.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(declared().into_iter().collect::<BTreeSet<_>>(), rows);
    assert!(ROWS.len() <= 23, "a reason is needed for another module at the top");
}

#[test]
fn rows_only_look_down() {
    for (at, (module, allowed)) in ROWS.iter().enumerate() {
        for name in allowed.iter().filter(|name| **name != "ALPN") {
            let below = ROWS[at + 1..].iter().any(|(below, _)| below == name);
            assert!(below, "{module} may import {name}, which does not stand below it");
        }
    }
}

#[test]
fn a_module_imports_what_its_row_allows_and_nothing_else() {
    for (module, allowed) in ROWS {
        let imports = imports_of(module);
        for (name, file) in &imports {
            assert!(allowed.contains(&&**name), "{} imports {name}, which its row does not allow", file.display());
        }
        for name in *allowed {
            assert!(imports.contains_key(*name), "{module} no longer imports {name}: take it out of its row");
        }
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let code = "use crate::{\n    hop::{self, Body},\n    protocol::{Api, Wire},\n    Error,\n};\nuse crate::tls;\nlet x = crate::report::chain(e);";
    assert_eq!(imported(code), ["Error", "hop", "protocol", "report", "tls"].into());
}

#[test]
fn the_transport_knows_nothing_of_flower() {
    for file in files("transport") {
        let text = fs::read_to_string(&file).unwrap().replace("flower_iroh_funnel::", "");
        assert!(!text.to_lowercase().contains("flower"), "{} speaks of Flower", file.display());
    }
}

/// A path of a call that is read from the top of the list to its bottom.
#[test]
fn the_list_of_modules_begins_with_the_path_of_a_call() {
    let path: Vec<_> = declared().into_iter().filter(|module| module != "error").take(5).collect();
    assert_eq!(path, ["funnel", "grpc_server", "call", "tunnel", "upstream"]);
}
