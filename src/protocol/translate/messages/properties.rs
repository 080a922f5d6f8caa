//! Properties of every body, however it is cut.

use proptest::{collection::vec, prelude::*};

use super::{
    Api, Direction, Framing, MAX_MESSAGE,
    tests::{framed, translated},
};

const RESPONSE: Direction = Direction::Response(Api::Fleet);

/// Bytes that often look like frames.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![4 => Just(0), 1 => 0..8u8, 1 => any::<u8>()], 0..64)
}

fn cut(bytes: &[u8], mut places: Vec<usize>) -> Vec<&[u8]> {
    places.iter_mut().for_each(|place| *place %= bytes.len() + 1);
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect()
}

proptest! {
    #[test]
    fn messages_come_back_from_the_other_framing(
        messages in vec(vec(any::<u8>(), 0..40), 0..6),
        places in vec(any::<usize>(), 0..6),
    ) {
        let messages: Vec<_> = messages.iter().map(Vec::as_slice).collect();
        let (grpc, stream) = (framed(Framing::Grpc, &messages), framed(Framing::Stream, &messages));
        let there = translated(RESPONSE, Framing::Grpc, Framing::Stream, false, &cut(&grpc, places.clone()));
        prop_assert_eq!(there, (stream.clone(), true));
        let back = translated(RESPONSE, Framing::Stream, Framing::Grpc, false, &cut(&stream, places));
        prop_assert_eq!(back, (grpc, true));
    }

    #[test]
    fn where_bytes_are_cut_never_decides_what_becomes_of_them(bytes in bytes(), places in vec(any::<usize>(), 0..6)) {
        for (from, to) in [(Framing::Grpc, Framing::Stream), (Framing::Stream, Framing::Grpc)] {
            let whole = translated(RESPONSE, from, to, false, &[&bytes]);
            let in_pieces = translated(RESPONSE, from, to, false, &cut(&bytes, places.clone()));
            prop_assert_eq!(whole.1, in_pieces.1);
            if whole.1 {
                prop_assert_eq!(&whole.0, &in_pieces.0);
                // A body that ended cleanly is translated back to the same bytes.
                prop_assert_eq!(translated(RESPONSE, to, from, false, &[&whole.0]), (bytes.clone(), true));
            }
        }
    }

    #[test]
    fn a_single_message_ends_well_only_with_its_own_length(bytes in bytes(), length in 0..64u64) {
        let (written, ended) = translated(Direction::Request, Framing::Bare(length), Framing::Grpc, true, &[&bytes]);
        prop_assert_eq!(ended, bytes.len() as u64 == length);
        if ended {
            prop_assert_eq!(written, framed(Framing::Grpc, &[&bytes]));
        }
    }

    #[test]
    fn a_message_past_the_limit_is_refused_before_its_first_byte(length in MAX_MESSAGE + 1..=u64::from(u32::MAX)) {
        let length = u32::try_from(length).unwrap().to_be_bytes();
        let announced = [&[0], &length[..], &[7; 10]].concat();
        let refused = translated(RESPONSE, Framing::Grpc, Framing::Stream, false, &[&announced]);
        prop_assert_eq!(refused, (Vec::new(), false));
    }
}
