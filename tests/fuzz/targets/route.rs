//! Paths: a path is a call exactly if it is written as one, and the call is of the API that stands in it.
#![no_main]

use flower_iroh_funnel::{
    Api,
    protocol::{HELLO_PATH, PASSTHROUGH_PATH, Refusal, Route, Wire},
};
use http::{Request, Version};
use libfuzzer_sys::{Corpus, fuzz_target};

const METHODS: [&str; 6] = ["POST", "GET", "HEAD", "PUT", "CONNECT", "OPTIONS"];
const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// The grammar once more, read letter by letter.
fn call(path: &str) -> Option<(Api, Wire)> {
    let parts: Vec<_> = path.split('/').collect();
    match parts[..] {
        ["", first, method] => {
            let is_name = |text: &str| {
                text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
            };
            let service = first.strip_prefix("flwr.proto.").filter(|service| is_name(service) && is_name(method))?;
            let services = ["Fleet", "GrpcAdapter", "FlowerService", "Control", "Exec"];
            let known = services.contains(&service) || Api::ALL.iter().any(|api| api.service() == service);
            known.then(|| (Api::of_service(service).expect("it is known"), Wire::Grpc))
        }
        ["", "v1", api, method] => {
            let mut before = '-';
            for letter in method.chars().chain(['-']) {
                let is_right = matches!(letter, 'a'..='z' | '0'..='9') || letter == '-' && before != '-';
                is_right.then_some(())?;
                before = letter;
            }
            Api::ALL.into_iter().find(|known| known.name() == api).map(|api| (api, Wire::Http))
        }
        _ => None,
    }
}

fuzz_target!(|data: (u8, &str)| -> Corpus {
    let (kind, target) = data;
    let method = METHODS[usize::from(kind >> 1) % METHODS.len()];
    let version = VERSIONS[usize::from(kind & 1)];
    let Ok(request) = Request::builder().method(method).version(version).uri(target).body(()) else {
        return Corpus::Reject;
    };
    let (path, uri) = (request.uri().path(), request.uri());
    let is_plain = uri.query().is_none() && (version == Version::HTTP_2 || uri.authority().is_none());
    match Route::of(&request) {
        Ok(route @ Route::Call { .. }) => {
            let Route::Call { api, wire, method: known, path: taken } = route else { unreachable!() };
            assert_eq!(call(path), Some((api, wire)), "{path}");
            assert!(is_plain && method == "POST" && taken.as_str() == path, "{request:?}");
            if let Some(known) = known.filter(|known| known.path(wire) == path) {
                let other = Request::post(known.path(wire.other())).body(()).expect("the table has paths");
                let Ok(Route::Call { api: same, .. }) = Route::of(&other) else { panic!("{other:?} is no call") };
                assert_eq!(same, api);
            }
        }
        Ok(Route::Health) => assert!(is_plain && path == "/health" && ["GET", "HEAD"].contains(&method)),
        Ok(Route::Hello) => assert!(is_plain && path == HELLO_PATH && method == "GET"),
        Ok(Route::Passthrough) => assert!(is_plain && path == PASSTHROUGH_PATH && method == "POST"),
        Err(Refusal::Method(refused)) => assert_eq!(refused, method),
        Err(refusal) => assert!(call(path).is_none() || !is_plain, "{path}: {refusal}"),
    }
    Corpus::Keep
});
