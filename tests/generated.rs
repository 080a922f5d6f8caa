//! The checked-in gRPC code is what its protos yield. `UPDATE_GENERATED=1 cargo test --test generated` rewrites it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use protox::Compiler;

#[test]
fn the_hello_code_is_what_its_proto_yields() {
    Generated { protos: "proto/hello/v1", out: "examples/hello", for_library: false }.check();
}

#[test]
fn flowers_code_is_what_its_protos_yield() {
    Generated { protos: "proto/flwr/proto", out: "src/proto", for_library: true }.check();
}

/// One directory of generated code: a `<package>.rs` for each package.
///
/// All paths are relative to the crate.
struct Generated {
    /// The directory of the protos, below `proto`.
    protos: &'static str,
    out: &'static str,
    /// The library's code brings no transport of tonic's, shares what it carries, and encodes maps in one order;
    /// an example's has `descriptors.bin` beside it, for reflection.
    for_library: bool,
}

impl Generated {
    fn check(&self) {
        let fresh = self.generate();
        let out = in_crate(self.out);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            for (name, content) in &fresh {
                fs::write(out.join(name), content).unwrap();
            }
        }
        for (name, content) in &fresh {
            let kept = fs::read(out.join(name)).unwrap_or_default();
            assert!(kept == *content, "{}/{name} is stale: run with UPDATE_GENERATED=1", self.out);
        }
    }

    fn generate(&self) -> BTreeMap<String, Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        // Comments are for the code; reflection does without them and without the paths that come with them.
        let described = self.compile(true).file_descriptor_set();
        let mut code = tonic_prost_build::configure().out_dir(dir.path());
        if self.for_library {
            code = code.build_transport(false).bytes(".").btree_map(".");
        } else {
            fs::write(dir.path().join("descriptors.bin"), self.compile(false).encode_file_descriptor_set()).unwrap();
        }
        code.compile_fds(described).unwrap();
        fs::read_dir(dir.path()).unwrap().map(|entry| named_content(&entry.unwrap().path())).collect()
    }

    fn compile(&self, with_comments: bool) -> Compiler {
        let mut protos: Vec<_> =
            fs::read_dir(in_crate(self.protos)).unwrap().map(|entry| entry.unwrap().path()).collect();
        protos.sort();
        let mut compiler = Compiler::new([in_crate("proto")]).unwrap();
        compiler.include_imports(true).include_source_info(with_comments);
        compiler.open_files(protos).unwrap();
        compiler
    }
}

fn in_crate(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn named_content(path: &Path) -> (String, Vec<u8>) {
    (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
}
