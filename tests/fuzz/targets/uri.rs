//! Targets of the transport, upstreams, and where pass-through leads: what is read is printed and read as the same.
#![no_main]

use flower_iroh_funnel::{PassthroughTarget, Security, Upstream, transport::peer_id};
use http::{Uri, uri::Authority};
use libfuzzer_sys::fuzz_target;

fn check_place(text: &str) {
    let authority: Authority = text.parse().expect("it is host:port");
    assert!(!authority.host().is_empty(), "{text} has no host");
    assert!(authority.port_u16().is_some_and(|port| port > 0), "{text} has no port");
    assert!(!text.contains('@'), "{text} has user information");
}

fuzz_target!(|text: &str| {
    if let Ok(uri) = text.parse::<Uri>() {
        match peer_id(&uri) {
            Ok(id) => {
                assert_eq!(peer_id(&format!("iroh://{id}").parse().expect("a URI")).expect("it names a peer"), id);
                let host = uri.host().expect("it names a peer");
                assert!(host == id.to_string() || host.len() == 52, "{host} is no form of {id}");
                assert!(uri.port().is_none() && ["iroh", "http"].map(Some).contains(&uri.scheme_str()));
            }
            Err(error) => assert!(error.to_string().contains("write iroh://")),
        }
    }
    if let Ok(upstream) = text.parse::<Upstream>() {
        let printed = upstream.to_string();
        assert_eq!(printed.parse::<Upstream>().as_ref(), Ok(&upstream));
        check_place(printed.split_once("://").expect("it has a scheme").1);
    }
    for security in [Security::Plain, Security::Tls] {
        let Ok(candidates) = Upstream::candidates(text, security) else { continue };
        assert_eq!(candidates.len(), if text.contains("://") { 1 } else { 2 });
        for candidate in candidates {
            assert_eq!(candidate.to_string().parse::<Upstream>().as_ref(), Ok(&candidate));
            assert!(text.contains("://") || candidate.security() == security);
        }
    }
    if let Ok(target) = text.parse::<PassthroughTarget>() {
        assert_eq!(target.to_string(), text);
        check_place(text);
    }
});
