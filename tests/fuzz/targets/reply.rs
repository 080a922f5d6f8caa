//! A reply whose objects are asked for again: each is in it, and whatever was answered, all of them are asked for now, in no
//! session.
#![no_main]

use flower_iroh_funnel::fuzzing::ask_again;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&[u8], &[u8])| {
    let (request, answer) = data;
    let Some((objects, asking)) = ask_again(request, answer) else { return };
    for object in &objects {
        assert!(object.is_empty() || request.windows(object.len()).any(|window| window == object.as_bytes()));
    }
    let (asked, session) = asking.expect("what is replaced can be read");
    assert_eq!(session, "");
    assert!(asked.iter().eq(&objects));
});
