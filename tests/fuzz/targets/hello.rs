//! A peer's hello: what is read is said again as the same, and what is none makes a short reason.
#![no_main]

use flower_iroh_funnel::{Hello, fuzzing::read_hello};
use http::StatusCode;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: (u16, &[u8])| -> Corpus {
    let (status, body) = data;
    let Ok(status) = StatusCode::from_u16(if status % 4 > 0 { 200 } else { status % 1000 }) else {
        return Corpus::Reject;
    };
    match read_hello(status, body) {
        Ok(hello) => {
            assert_eq!(status, 200);
            let said = serde_json::to_vec(&hello).expect("names and lists are JSON");
            assert_eq!(serde_json::from_slice::<Hello>(&said).expect("it is a hello"), hello);
            assert!(hello.apis.iter().all(|report| hello.offers(&report.api)));
        }
        Err(failure) => assert!(failure.to_string().len() < 1024, "{failure}"),
    }
    Corpus::Keep
});
