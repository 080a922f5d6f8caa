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

#[test]
fn a_node_needs_no_funnel() {
    for file in files("node") {
        let text = fs::read_to_string(&file).unwrap();
        let proto_only = text
            .split("crate::")
            .skip(1)
            .all(|path| ["proto", "node", "object", "transport"].iter().any(|room| path.starts_with(room)));
        assert!(proto_only, "{} reaches into the funnel", file.display());
    }
}
