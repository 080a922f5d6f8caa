//! gRPC's framing into HTTP's: whatever the pieces, what ends well is whole, and what is whole ends well.
#![no_main]

use flower_iroh_funnel::fuzzing::Translator;
use fuzz::{Cut, Pieces, Whole, framed, headers, messages, now, whole};
use http::{Request, Response, header::CONTENT_LENGTH};
use libfuzzer_sys::fuzz_target;

/// What ends a response, and whether it ends it well.
const ENDS: [(Option<&str>, bool); 4] = [
    (Some("grpc-status: 0"), true),
    (None, false),
    (Some("grpc-status: 14\ngrpc-message: down"), false),
    (Some("x: y"), false),
];

/// The length that was announced, and the body.
type Outcome = Result<(Option<String>, Whole), String>;

fn length(headers: &http::HeaderMap) -> Option<String> {
    headers.get(CONTENT_LENGTH).map(|length| length.to_str().expect("it is a number").to_owned())
}

fn request(body: Pieces) -> Outcome {
    let request = Request::post("/flwr.proto.Fleet/PullMessages").body(body).expect("it is one");
    let translator = Translator::of(request.uri().path()).expect("the method is known");
    let request = now(translator.request(request)).map_err(|failure| failure.to_string())?;
    Ok((length(request.headers()), whole(request.into_body())))
}

fn response(path: &str, body: Pieces) -> Outcome {
    let translator = Translator::of(path).expect("the method is known");
    let response = now(translator.response(Response::new(body))).map_err(|failure| failure.to_string())?;
    if !response.status().is_success() {
        return Err(response.status().to_string());
    }
    Ok((length(response.headers()), whole(response.into_body())))
}

fn check(outcome: &Outcome, wanted: Option<Vec<u8>>, single: bool) {
    match (outcome, wanted) {
        (Ok((length, Whole { bytes, end: Ok(_) })), Some(wanted)) => {
            assert_eq!(bytes, &wanted);
            assert!(!single || *length == Some(bytes.len().to_string()), "{length:?}");
        }
        (Ok((_, Whole { end: Ok(_), .. })), None) => panic!("it ended well and was not whole: {outcome:?}"),
        (_, Some(_)) => panic!("it was whole and did not end well: {outcome:?}"),
        // Never all bytes of the announced length: an HTTP server would take them.
        (Ok((Some(length), Whole { bytes, .. })), None) => assert_ne!(*length, bytes.len().to_string()),
        (_, None) => {}
    }
}

fuzz_target!(|data: (u8, u8, &[u8])| {
    let (kind, cut, bytes) = data;
    let plain = messages(bytes, 1).filter(|messages| messages.iter().all(|(flag, _)| *flag == [0]));
    let plain: Option<Vec<_>> = plain.map(|messages| messages.into_iter().map(|(_, message)| message).collect());
    let single = plain.as_ref().and_then(|messages| match messages[..] {
        [message] => Some(message.to_vec()),
        _ => None,
    });
    let (trailers, is_good) = ENDS[usize::from(kind) % ENDS.len()];
    let trailers = trailers.map(|lines| headers(lines.as_bytes()));
    let cuts = [Cut::Nowhere, Cut::Everywhere, Cut::Somewhere(cut)];

    let [one, other, another] = cuts.map(|cut| request(Pieces::new(bytes, cut, None)));
    check(&one, single.clone(), true);
    same(&one, &other);
    same(&one, &another);
    for (path, is_single) in [("/v1/fleet/pull-messages", true), ("/v1/control/stream-logs", false)] {
        let [one, other, another] = cuts.map(|cut| response(path, Pieces::new(bytes, cut, trailers.clone())));
        let stream = || plain.clone().map(|messages| framed(messages, b""));
        let wanted = if is_single { single.clone() } else { stream() };
        check(&one, wanted.filter(|_| is_good), is_single);
        same(&one, &other);
        same(&one, &another);
    }
});

/// How bytes are cut decides nothing but how many come before a failure.
fn same(one: &Outcome, other: &Outcome) {
    match (one, other) {
        (Ok((length, Whole { end: Err(error), .. })), Ok((same, Whole { end: Err(again), .. }))) => {
            assert_eq!((length, error), (same, again));
        }
        _ => assert_eq!(one, other),
    }
}
