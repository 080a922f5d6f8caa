//! HTTP's framings into gRPC's: whatever the pieces, what ends well is whole, and what is whole ends well.
#![no_main]

use flower_iroh_funnel::fuzzing::Translator;
use fuzz::{Cut, Pieces, Whole, framed, messages, now, whole};
use http::{Request, Response, header::CONTENT_TYPE};
use libfuzzer_sys::fuzz_target;

type Outcome = Result<Whole, String>;

fn request(body: Pieces) -> Outcome {
    let request = Request::post("/v1/fleet/pull-messages").header(CONTENT_TYPE, "application/protobuf");
    let request = request.body(body).expect("it is one");
    let translator = Translator::of(request.uri().path()).expect("the method is known");
    now(translator.request(request)).map(|request| whole(request.into_body())).map_err(|failure| failure.to_string())
}

fn response(path: &str, content_type: &str, body: Pieces) -> Outcome {
    let translator = Translator::of(path).expect("the method is known");
    let response = Response::builder().header(CONTENT_TYPE, content_type).body(body).expect("it is one");
    now(translator.response(response))
        .map(|response| whole(response.into_body()))
        .map_err(|failure| failure.to_string())
}

/// What gRPC takes for whole ends with its status.
fn check(outcome: &Outcome, wanted: Option<Vec<u8>>, has_status: bool) {
    match (outcome, wanted) {
        (Ok(Whole { bytes, end: Ok(trailers) }), Some(wanted)) => {
            assert_eq!(bytes, &wanted);
            let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
            assert_eq!(status.is_some_and(|status| status == "0"), has_status);
        }
        (Ok(Whole { end: Ok(_), .. }), None) => panic!("it ended well and was not whole: {outcome:?}"),
        (_, Some(_)) => panic!("it was whole and did not end well: {outcome:?}"),
        (Ok(Whole { bytes, .. }), None) => {
            assert!(has_status || messages(bytes, 1).is_none_or(|messages| messages.is_empty()), "{outcome:?}");
        }
        (Err(_), None) => {}
    }
}

/// How bytes are cut decides nothing but how many come before a failure.
fn same(one: &Outcome, other: &Outcome) {
    match (one, other) {
        (Ok(Whole { end: Err(error), .. }), Ok(Whole { end: Err(again), .. })) => assert_eq!(error, again),
        _ => assert_eq!(one, other),
    }
}

fuzz_target!(|data: (i8, u8, &[u8])| {
    let (off, cut, bytes) = data;
    let announced = match off {
        i8::MIN => None,
        i8::MAX => Some(u64::MAX),
        off => (bytes.len() as u64).checked_add_signed(i64::from(off)),
    };
    let single = (announced == Some(bytes.len() as u64)).then(|| framed([bytes], &[0]));
    let stream = messages(bytes, 0).map(|messages| framed(messages.into_iter().map(|(_, message)| message), &[0]));
    let cuts = [Cut::Nowhere, Cut::Everywhere, Cut::Somewhere(cut)];
    let body = |cut| Pieces::new(bytes, cut, None).announcing(announced);

    let requests = cuts.map(|cut| request(body(cut)));
    check(&requests[0], single.clone(), false);
    let unary = cuts.map(|cut| response("/flwr.proto.Fleet/PullMessages", "application/protobuf", body(cut)));
    check(&unary[0], single, true);
    let stream_type = "application/flower-protobuf-stream";
    let streams = cuts.map(|cut| response("/flwr.proto.Control/StreamLogs", stream_type, body(cut)));
    check(&streams[0], stream, true);
    for [one, other, another] in [requests, unary, streams] {
        same(&one, &other);
        same(&one, &another);
    }
});
