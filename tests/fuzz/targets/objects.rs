//! A message's objects, as lines of `Type child,child body`: `$3` in a body is the id of the object on line 3.
#![no_main]

use bytes::Bytes;
use data_encoding::HEXLOWER;
use flower_iroh_funnel::{
    fuzzing::node::{assembled, split},
    node::{Record, RecordDict},
};
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

/// The most bytes of the message.
const MAX_BYTES: u64 = 1 << 16;

fn id(content: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(content))
}

/// The object on a line; it knows the ids of those before it.
fn object(line: &[u8], ids: &[String]) -> Bytes {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let [kind, children, text] = std::array::from_fn(|_| words.next().unwrap_or_default());
    let child = |number: &[u8]| ids.get(std::str::from_utf8(number).ok()?.parse::<usize>().ok()?).cloned();
    let children: Vec<_> = children.split(|byte| *byte == b',').filter_map(child).collect();
    let mut body = Vec::new();
    let mut parts = text.split(|byte| *byte == b'$');
    body.extend_from_slice(parts.next().unwrap_or_default());
    for part in parts {
        let id = part.first().and_then(|digit| ids.get(usize::from(digit.wrapping_sub(b'0'))));
        body.extend_from_slice(id.map_or(b"$", |id| id.as_bytes()));
        body.extend_from_slice(if id.is_some() { &part[1..] } else { part });
    }
    [kind, format!(" {} {}\0", children.join(","), body.len()).as_bytes(), &body].concat().into()
}

fn size(content: &RecordDict) -> u64 {
    let arrays = content.iter().filter_map(|(_, record)| match record {
        Record::Array(arrays) => Some(arrays),
        _ => None,
    });
    let mut sizes: Vec<_> =
        arrays.flat_map(|arrays| arrays.iter().map(|(_, array)| array.data().as_ptr_range())).collect();
    // Arrays of the same name share their memory.
    sizes.sort_by_key(|range| range.start);
    sizes.dedup();
    sizes.into_iter().map(|range| range.end as u64 - range.start as u64).sum()
}

fuzz_target!(|lines: &[u8]| {
    let (mut ids, mut objects) = (Vec::new(), Vec::new());
    for line in lines.split(|byte| *byte == b'\n') {
        let content = object(line, &ids);
        ids.push(id(&content));
        objects.push((ids.last().expect("it was pushed").clone(), content));
    }
    let root = ids.last().expect("there is a last line");
    match assembled(root, &objects, MAX_BYTES) {
        Ok(Some(content)) => {
            assert!(size(&content) <= MAX_BYTES, "it takes more memory than the limit");
            let objects = split(&content);
            let again = assembled(&objects.last().expect("there is a root").0, &objects, u64::MAX);
            let again = again.expect("split content is assembled").expect("it has content");
            assert_eq!(format!("{again:?}"), format!("{content:?}"));
        }
        Ok(None) => {}
        Err(error) => assert!(error.to_string().len() < 2000, "{error}"),
    }
});
