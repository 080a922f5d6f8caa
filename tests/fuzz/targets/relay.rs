//! A relay with its token: what is read is read again, and nothing tells what stands after the comma.
#![no_main]

use flower_iroh_funnel::{Relay, RelayToken};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|text: &str| -> Corpus {
    if text.contains(",@") {
        return Corpus::Reject;
    }
    let (name, token) = text.split_once(',').map_or((text, None), |(name, token)| (name, Some(token)));
    match text.parse::<Relay>() {
        Ok(relay) => {
            if let Relay::Own { url, token: read } = &relay {
                let token = token.map(|token| token.parse::<RelayToken>().expect("it was read"));
                assert_eq!(*read, token);
                let again = Relay::Own { url: url.to_string().parse().expect("a URL is read again"), token };
                assert_eq!(again, relay);
                let shown = format!("{relay:?}");
                assert!(
                    shown.ends_with("token: None }") || shown.ends_with("token: Some(RelayToken(..)) }"),
                    "{shown}"
                );
            }
            assert!(Relay::mode(vec![relay]).is_ok(), "one stands alone");
        }
        Err(error) if token.is_some() => {
            let other = format!("{name},").parse::<Relay>().expect_err("no token is empty");
            assert_eq!((error.to_string(), format!("{error:?}")), (other.to_string(), format!("{other:?}")));
        }
        Err(error) => assert!(error.to_string().contains("is not a valid relay"), "{error}"),
    }
    Corpus::Keep
});
