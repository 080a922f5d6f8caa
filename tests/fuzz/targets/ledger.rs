//! The ledger beside the roster: what is read is written and read as the same.
#![no_main]

use flower_iroh_funnel::fuzzing::rewrite_ledger;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match rewrite_ledger(text) {
        Ok(written) => {
            assert_eq!(rewrite_ledger(&written).as_ref(), Ok(&written));
            assert!(written.len() < 1024 + 20 * text.len(), "it grows");
        }
        Err(error) => assert!(!error.is_empty()),
    }
});
