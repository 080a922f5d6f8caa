//! A reply whose objects are asked for again: each stands in it, and whatever was answered, all of them are asked for now, in no
//! session.
#![no_main]

use flower_iroh_funnel::fuzzing::ask_again;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&[u8], &[u8])| {
    let (request, answer) = data;
    let Some((objects, asking)) = ask_again(request, answer) else { return };
    for object in &objects {
        assert!(object.is_empty() || request.windows(object.len()).any(|window| window == object));
    }
    let asking = asking.expect("two messages in a row are one");
    let (last, rest) = asking.split_last().expect("it says at least that there is no session");
    assert_eq!(*last, (4, Err(Vec::new())));
    let asked: Vec<_> = rest[rest.len() - objects.len()..].iter().collect();
    assert!(
        asked
            .into_iter()
            .zip(&objects)
            .all(|((field, value), object)| (*field, value.as_ref().err()) == (3, Some(object)))
    );
});
