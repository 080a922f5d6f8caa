//! Our protos beside those of the real Flower: every difference is a line of `data/descriptors/<version>.txt`. The errors
//! and HTTP paths of the newest Flower beside our tables of them.
//!
//! `UPDATE_GENERATED=1` rewrites the lists.

#[path = "descriptors/difference.rs"]
mod difference;
#[path = "descriptors/protocol.rs"]
mod protocol;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use protox::Compiler;
use protox::prost_reflect::DescriptorPool;

use self::difference::{Difference, Effect, differences};
use self::protocol::Protocol;
use crate::flower::{Error, Venv, Version};
use crate::real_flower::{flower_venv, in_turn};
use crate::versions::{V1_30, V1_39, V1_41, V1_42};

/// The service whose messages a node of ours decodes.
const DECODED: &str = "flwr.proto.Fleet";
/// The only new name in [`DECODED`]. What 1.30 says in it, `serverapp` or `simulation`, is not the type of a task.
const KNOWN_RENAME: &str = "RENAMED flwr.proto.Run.primary_task_type = 16 string; theirs: run_type = 16 string";

/// Code, gRPC status and HTTP status of every error of the newest Flower.
const ERRORS: &str = include_str!("../data/flower_errors.tsv");
/// Every path of Flower 1.20 to the newest, its wire, and the first and the last version that has it.
const PATHS: &str = include_str!("../data/flower_methods.tsv");

#[tokio::test(flavor = "multi_thread")]
async fn the_errors_and_http_paths_of_the_newest_flower_are_those_of_our_tables() -> Result<(), Error> {
    in_turn(async {
        let Some(venv) = flower_venv(V1_42).await? else { return Ok(()) };
        let catalogue = written_by(&venv, "tests/flower/descriptors/catalogue.py").await?;
        let catalogue = String::from_utf8(catalogue).expect("the script writes UTF-8");
        assert_eq!(rows_of("error", &catalogue), data_lines(ERRORS).collect(), "errors");
        assert_eq!(rows_of("path", &catalogue), paths_of_the_newest().collect(), "paths");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_differences_to_flower_1_42_are_known() -> Result<(), Error> {
    differences_are_known(V1_42).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_differences_to_flower_1_41_are_known() -> Result<(), Error> {
    differences_are_known(V1_41).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_differences_to_flower_1_39_are_known() -> Result<(), Error> {
    differences_are_known(V1_39).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_differences_to_flower_1_30_are_known() -> Result<(), Error> {
    differences_are_known(V1_30).await
}

#[test]
fn what_a_difference_does_is_told() {
    let ours =
        "message A { string a = 1; string b = 2; string c = 3; string d = 4; } message B { A a = 1; uint32 e = 3; }
        service S { rpc M(A) returns (B); rpc N(A) returns (B); }";
    let theirs = "message A { bytes a = 1; string x = 2; optional string c = 3; } message B { A a = 1; uint32 e = 2; }
        message C { map<string, A> f = 1; } service S { rpc M(A) returns (stream B); }";
    let found = differences(&protocol_of(ours), &protocol_of(theirs));
    assert_eq!(
        lines(&found),
        "BREAKING A.a = 1 string; theirs: a = 1 bytes\n\
         BREAKING B.e = 2 uint32: theirs; elsewhere: e = 3 uint32\n\
         BREAKING B.e = 3 uint32: ours; elsewhere: e = 2 uint32\n\
         BREAKING S/M(A) returns (B); theirs: M(A) returns (stream B)\n\
         RENAMED A.b = 2 string; theirs: x = 2 string\n\
         PRESENCE A.c = 3 string; theirs: c = 3 optional string\n\
         A.d = 4 string: only ours\n\
         message C: only theirs\n\
         S/N(A) returns (B): only ours\n"
    );
    assert_eq!(protocol_of(theirs).reachable_from("S"), BTreeSet::from(["A", "B", "S"].map(str::to_owned)));
}

async fn differences_are_known(version: Version) -> Result<(), Error> {
    in_turn(async {
        let Some(theirs) = theirs(version).await? else { return Ok(()) };
        let ours = ours();
        let found = differences(&ours, &theirs);
        check_kept(version, &found);
        check_decoded(&ours.reachable_from(DECODED), &found);
        Ok(())
    })
    .await
}

/// Checks that the differences are those of the list that is kept.
fn check_kept(version: Version, found: &BTreeSet<Difference>) {
    let path = in_crate(&format!("tests/data/descriptors/{version}.txt"));
    let found = list(version, found);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&path, &found).unwrap();
    }
    // A checkout may have other line ends.
    let kept = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(kept == found, "{} is stale: run with UPDATE_GENERATED=1\n{}", path.display(), diff(&kept, &found));
}

/// Checks that none of the messages we decode is read as something else.
fn check_decoded(decoded: &BTreeSet<String>, found: &BTreeSet<Difference>) {
    let misread = |difference: &&Difference| match difference.effect {
        Effect::Breaking => true,
        Effect::Renamed => difference.to_string() != KNOWN_RENAME,
        Effect::Presence | Effect::Addition => false,
    };
    let misread: Vec<_> = found.iter().filter(|found| decoded.contains(&found.owner)).filter(misread).collect();
    assert!(misread.is_empty(), "{DECODED} reads as something else:\n{}", lines(misread));
}

fn list(version: Version, differences: &BTreeSet<Difference>) -> String {
    format!(
        "# What differs between proto/flwr (ours) and flwr {version} (theirs).\n\
         # BREAKING: the same key has another type, or the same name another key; one side misreads the other.\n\
         # RENAMED: the same number and type has another name; it decodes, but may mean something else.\n\
         # PRESENCE: only one side tells an absent value from a default one.\n\
         # All others are on one side only; the other ignores or never sees them.\n{}",
        lines(differences)
    )
}

fn lines<'a>(differences: impl IntoIterator<Item = &'a Difference>) -> String {
    differences.into_iter().map(|difference| format!("{difference}\n")).collect()
}

/// The lines that only one of two lists has.
fn diff(kept: &str, found: &str) -> String {
    let only = |sign, lines: &str, others: &str| -> String {
        let others: BTreeSet<_> = others.lines().collect();
        lines.lines().filter(|line| !others.contains(line)).map(|line| format!("{sign} {line}\n")).collect()
    };
    only('-', kept, found) + &only('+', found, kept)
}

fn protocol_of(declarations: &str) -> Protocol {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("p.proto"), format!("syntax = \"proto3\";\n{declarations}")).unwrap();
    let mut compiler = Compiler::new([dir.path()]).unwrap();
    Protocol::new(compiler.open_file("p.proto").unwrap().descriptor_pool())
}

fn ours() -> Protocol {
    let protos = fs::read_dir(in_crate("proto/flwr/proto")).unwrap().map(|entry| entry.unwrap().path());
    let mut compiler = Compiler::new([in_crate("proto")]).unwrap();
    compiler.include_imports(true).open_files(protos).unwrap();
    Protocol::new(compiler.descriptor_pool())
}

/// The protocol of an installed flwr, or `None` where a missing Python lets the test skip.
async fn theirs(version: Version) -> Result<Option<Protocol>, Error> {
    let Some(venv) = flower_venv(version).await? else { return Ok(None) };
    let descriptors = written_by(&venv, "tests/flower/descriptors/dump.py").await?;
    Ok(Some(Protocol::new(DescriptorPool::decode(descriptors.as_slice()).unwrap())))
}

/// Runs a script that asks flwr itself, and returns the file that it writes.
async fn written_by(venv: &Venv, script: &str) -> Result<Vec<u8>, Error> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("written");
    let mut python = venv.python();
    python.arg(in_crate(script)).arg(&file);
    let output = python.output().await.map_err(|error| Error::new(format!("Python does not start: {error}")))?;
    if output.status.success() {
        return Ok(fs::read(&file).unwrap());
    }
    Err(Error::new(format!("{script} failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr))))
}

/// The lines of a catalogue that begin with `kind`, without it.
fn rows_of<'a>(kind: &str, catalogue: &'a str) -> BTreeSet<&'a str> {
    let rows = catalogue.lines().filter_map(|line| line.split_once('\t'));
    rows.filter(|(found, _)| *found == kind).map(|(_, row)| row).collect()
}

/// The HTTP paths of our table whose last version is the newest.
fn paths_of_the_newest() -> impl Iterator<Item = &'static str> {
    data_lines(PATHS).filter_map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
        [path, "http", _, "1.42"] => Some(path),
        _ => None,
    })
}

fn data_lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.starts_with('#'))
}

fn in_crate(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
