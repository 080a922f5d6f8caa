//! The configuration's file: a key that does not exist is always named, and what is built keeps its rules.
#![no_main]

use std::collections::HashSet;

use flower_iroh_funnel::FunnelConfig;
use libfuzzer_sys::{Corpus, fuzz_target};

/// What makes it read or write other files, and what could hide them.
const FILES: [&str; 8] = ["@", "\\", "_file", "_ca", "roster", "local_tls", "audit_log", "/dev"];

fuzz_target!(|text: &str| -> Corpus {
    if FILES.iter().any(|file| text.contains(file)) {
        return Corpus::Reject;
    }
    let is_toml = text.parse::<toml::Table>().is_ok();
    match FunnelConfig::from_toml(text).build() {
        Ok(config) => {
            assert!(is_toml && (1..=249).contains(&config.alpn.len()));
            assert!(config.incoming_limits.max_links > 0 && config.incoming_limits.max_links_per_peer > 0);
            let again = FunnelConfig::from_toml(&format!("# A comment\n{text}\n")).build().expect("it is the same");
            assert_eq!(format!("{again:?}"), format!("{config:?}"));
        }
        Err(error) => {
            assert!(!error.mistakes().is_empty() && error.mistakes().iter().all(|mistake| !mistake.is_empty()));
        }
    }
    let error = FunnelConfig::from_toml(&format!("no_such_key = 1\n{text}")).build().expect_err("no key is like that");
    let mistakes: HashSet<_> = error.mistakes().iter().map(String::as_str).collect();
    let could_follow = format!("no_such_key = 1\n{text}").parse::<toml::Table>().is_ok();
    assert_eq!(mistakes.contains("no_such_key: no such key"), could_follow, "{error}");
    Corpus::Keep
});
