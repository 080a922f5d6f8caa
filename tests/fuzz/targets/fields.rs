//! The small fields of a call's message: the same however it is cut, and each stands in it.
#![no_main]

use flower_iroh_funnel::fuzzing::read_fields;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (u8, &[u8])| {
    let (cut, message) = data;
    let whole = read_fields([message]);
    assert_eq!(whole, read_fields(message.chunks(usize::from(cut).max(1))));
    for (_, value) in whole.into_iter().flatten() {
        if let Err(bytes) = value {
            assert!(bytes.is_empty() || message.windows(bytes.len()).any(|window| window == bytes));
        }
    }
});
