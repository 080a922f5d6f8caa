//! The roster's file: what is read is written and read as the same, and stands for itself.
#![no_main]

use std::collections::HashSet;

use flower_iroh_funnel::{
    fuzzing::{read_roster, write_roster},
    roster::Standing,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match read_roster(text) {
        Ok(roster) => {
            let written = write_roster(&roster);
            assert_eq!(read_roster(&written).as_ref(), Ok(&roster), "{written}");
            assert!(written.len() < 1024 + 20 * text.len(), "it grows");
            let ids: HashSet<_> = roster.peers().iter().map(|peer| peer.id).collect();
            assert_eq!(ids.len(), roster.peers().len(), "an id stands in it once");
            for peer in roster.peers() {
                assert!(peer.standing == Standing::Allowed || peer.may_call().is_empty());
                assert_eq!(roster.find(&peer.id.to_string()), Some(peer));
                if let Some(name) = &peer.name {
                    assert_eq!(roster.find(&name.to_string()), Some(peer), "a name stands for one");
                }
            }
        }
        Err(error) => assert!(!error.is_empty()),
    }
});
