//! The checked-in gRPC code is what its protos yield. `UPDATE_GENERATED=1 cargo test --test generated` rewrites it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use protox::Compiler;

#[test]
fn the_hello_code_is_what_its_proto_yields() {
    Generated { includes: "proto", protos: &["proto/hello/v1/hello.proto"], out: "examples/hello" }.check();
}

/// One directory of generated code: a `<package>.rs` for each package, and `descriptors.bin` for reflection.
///
/// All paths are relative to the crate.
struct Generated {
    includes: &'static str,
    protos: &'static [&'static str],
    out: &'static str,
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
        tonic_prost_build::configure().out_dir(dir.path()).compile_fds(described).unwrap();
        fs::write(dir.path().join("descriptors.bin"), self.compile(false).encode_file_descriptor_set()).unwrap();
        fs::read_dir(dir.path()).unwrap().map(|entry| named_content(&entry.unwrap().path())).collect()
    }

    fn compile(&self, with_comments: bool) -> Compiler {
        let mut compiler = Compiler::new([in_crate(self.includes)]).unwrap();
        compiler.include_imports(true).include_source_info(with_comments);
        compiler.open_files(self.protos.iter().map(|proto| in_crate(proto))).unwrap();
        compiler
    }
}

fn in_crate(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn named_content(path: &Path) -> (String, Vec<u8>) {
    (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
}
