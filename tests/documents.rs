//! The documents point at what is there: files, headings, and source paths between backticks.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

/// What a path of this repository begins with, where it stands between backticks.
const SOURCES: [&str; 6] = ["src/", "tests/", "benches/", "examples/", "docs/", "proto/"];
/// From here on a path between backticks stands for several, or has more than a path in it.
const PATTERN: [char; 8] = ['*', '<', '{', '…', ':', '#', ' ', '\n'];

#[test]
fn every_link_and_every_source_path_of_the_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = documents(root);
    assert!(documents.len() > 10, "too few documents to be all: {documents:?}");
    let broken: Vec<_> = documents.iter().flat_map(|document| broken(root, document)).collect();
    assert!(broken.is_empty(), "these lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn what_leads_nowhere_is_found() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("src/lib.rs", "");
    write("docs/b.md", "# A `b`, and more\n```sh\n# no heading\n```\n## Twice\n## Twice\n");
    write(
        "docs/a.md",
        "# Top\n[well](b.md#a-b-and-more) [top](#top) [web](https://example.org/x) ![two](b.md#twice-1) [dir](../src)\n\
         [1](gone.md) [2](#gone) [3](b.md#no-heading) [4](b.md#twice-2), also on\n[two\nlines](gone.svg)\n\
         `src/lib.rs` `src/lib.rs:12` `src/lib*` `lib.rs` `src/gone.rs` `tests/gone/*.rs` `[no](link)`\n\
         ```\n[no](link) `src/none.rs`\n```\n",
    );
    let found = broken(root.path(), &root.path().join("docs/a.md"));
    let expected =
        ["gone.md", "#gone", "b.md#no-heading", "b.md#twice-2", "gone.svg", "src/gone.rs", "tests/gone/*.rs"];
    assert_eq!(found, expected.map(|target| format!("docs/a.md: {target}")));
}

/// Everything in Markdown that is ours.
fn documents(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                dirs.push(path);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What leads nowhere in a document: links first, then paths.
fn broken(root: &Path, document: &Path) -> Vec<String> {
    let text = prose(&fs::read_to_string(document).unwrap());
    let dir = document.parent().unwrap();
    let (without_code, code) = split_code(&text);
    let links = targets(&without_code).filter(|target| !is_reached(dir, document, target));
    let paths = code.iter().filter(|span| !is_there(root, dir, span));
    let name = document.strip_prefix(root).unwrap().display();
    links.chain(paths.map(String::as_str)).map(|target| format!("{name}: {target}")).collect()
}

/// A document without its blocks of code.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let outside = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    };
    text.lines().filter(outside).map(|line| format!("{line}\n")).collect()
}

/// The text between backticks, and all the other.
fn split_code(text: &str) -> (String, Vec<String>) {
    let parts = text.split('`').enumerate();
    let (code, other): (Vec<_>, Vec<_>) = parts.partition(|(index, _)| index % 2 == 1);
    (other.into_iter().map(|(_, part)| part).collect(), code.into_iter().map(|(_, part)| part.to_owned()).collect())
}

/// Where the links of a text point, but for other hosts.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

/// Whether a link leads to a file, and to a heading in it if it names one.
fn is_reached(dir: &Path, document: &Path, target: &str) -> bool {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() { document.to_owned() } else { dir.join(file) };
    match heading {
        "" => file.exists(),
        _ => fs::read_to_string(&file).is_ok_and(|text| anchors(&text).contains(heading)),
    }
}

/// Whether code that looks like a path of ours, from the root or from the document's directory, is one.
fn is_there(root: &Path, dir: &Path, code: &str) -> bool {
    if !SOURCES.iter().any(|source| code.starts_with(source)) {
        return true;
    }
    let path = match code.split_once(PATTERN) {
        // Of several files or of more than a path, the directory at least.
        Some((start, _)) if !start.contains('.') => start.rsplit_once('/').map_or(start, |(dir, _)| dir),
        Some((start, _)) => start,
        None => code,
    };
    root.join(path).exists() || dir.join(path).exists()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen = HashMap::<String, usize>::new();
    let text = prose(text);
    let headings = text
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    let numbered = headings.map(|heading| {
        let anchor = anchor(heading);
        let before = seen.entry(anchor.clone()).or_default();
        *before += 1;
        if *before == 1 { anchor } else { format!("{anchor}-{}", *before - 1) }
    });
    numbered.collect()
}

fn anchor(heading: &str) -> String {
    let mut parts = heading.split("](");
    let first = parts.next().unwrap_or_default();
    // Of a link, its text.
    let shown: String =
        std::iter::once(first).chain(parts.map(|part| part.split_once(')').map_or(part, |(_, rest)| rest))).collect();
    let kept = shown.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}
