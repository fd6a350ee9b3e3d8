//! Frames through the wire and back, and what is no frame.

use std::slice::from_ref;

use proptest::prelude::*;

use super::*;

/// A frame that owns its bytes, so that a strategy can make it.
#[derive(Debug, Clone)]
enum Made {
    AckNow,
    Ack(Ack),
    Padding(usize),
    Message(u64, Vec<u8>),
    Fragment(u64, u32, u32, Vec<u8>),
    Ping,
    PathChallenge(u64),
    PathResponse(u64),
    Credit(u64),
    Rekey(u32, u8, u8, Vec<u8>),
    RekeyReply(u32, u8, u8, Vec<u8>),
    Close(u64),
}

impl Made {
    fn frame(&self) -> Frame<'_> {
        match self {
            Self::AckNow => Frame::AckNow,
            Self::Ack(ack) => Frame::Ack(ack.clone()),
            Self::Padding(len) => Frame::Padding(*len),
            Self::Message(n, bytes) => Frame::Message { n: *n, bytes },
            Self::Fragment(n, offset, total, bytes) => Frame::Fragment { n: *n, offset: *offset, total: *total, bytes },
            Self::Ping => Frame::Ping,
            Self::PathChallenge(token) => Frame::PathChallenge(*token),
            Self::PathResponse(token) => Frame::PathResponse(*token),
            Self::Credit(limit) => Frame::Credit { limit: *limit },
            Self::Rekey(epoch, part, parts, bytes) => {
                Frame::Rekey(RekeyPart { epoch: Epoch(*epoch), part: *part, parts: *parts, bytes })
            }
            Self::RekeyReply(epoch, part, parts, bytes) => {
                Frame::RekeyReply(RekeyPart { epoch: Epoch(*epoch), part: *part, parts: *parts, bytes })
            }
            Self::Close(code) => Frame::Close(CloseCode::from_wire(*code)),
        }
    }
}

/// Numbers of every length on the wire.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..=250u64, 251..=0xffff_u64, 0x1_0000..=0xffff_ffff_u64, any::<u64>(), Just(u64::MAX)]
}

/// Ranges from the top down: the length of each and the gap below it.
fn ack() -> impl Strategy<Value = Ack> {
    (any::<u32>(), number(), prop::collection::vec((0..2_000u64, 0..2_000u64), 1..=ACK_RANGES_MAX)).prop_map(
        |(delay_us, largest, lens)| {
            let mut ranges = Vec::new();
            let mut last = Some(largest);
            for (len, gap) in lens {
                let Some(top) = last else { break };
                let first = top.saturating_sub(len);
                ranges.push((PacketNumber(first), PacketNumber(top)));
                last = first.checked_sub(gap + 2);
            }
            Ack { delay_us, ranges }
        },
    )
}

fn made() -> impl Strategy<Value = Made> {
    let rekey = || (any::<u32>(), 0..REKEY_PARTS_MAX, 0..REKEY_PARTS_MAX, bytes(1, REKEY_PART_LEN_MAX));
    prop_oneof![
        Just(Made::AckNow),
        ack().prop_map(Made::Ack),
        (0..300usize).prop_map(Made::Padding),
        (number(), bytes(0, 1_400)).prop_map(|(n, bytes)| Made::Message(n, bytes)),
        (number(), 0..1_000_000u32, 0..50_000u32, bytes(1, 1_400)).prop_map(|(n, offset, behind, bytes)| {
            let end = offset + u32::try_from(bytes.len()).unwrap();
            let behind = if bytes.len() < FRAGMENT_LEN_MIN { 0 } else { behind };
            Made::Fragment(n, offset, end + behind, bytes)
        }),
        Just(Made::Ping),
        any::<u64>().prop_map(Made::PathChallenge),
        any::<u64>().prop_map(Made::PathResponse),
        number().prop_map(Made::Credit),
        rekey().prop_map(|(epoch, part, more, bytes)| Made::Rekey(epoch, part.min(more), more + 1, bytes)),
        rekey().prop_map(|(epoch, part, more, bytes)| Made::RekeyReply(epoch, part.min(more), more + 1, bytes)),
        number().prop_map(Made::Close),
    ]
}

fn bytes(min: usize, max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), min..=20.min(max)), prop::collection::vec(any::<u8>(), min..=max)]
}

fn encode(frames: &[Made]) -> Vec<u8> {
    let mut payload = Vec::new();
    frames.iter().for_each(|frame| frame.frame().encode(&mut payload));
    payload
}

fn decode_all_frames(payload: &[u8]) -> Result<Vec<Frame<'_>>, WireError> {
    Frames::new(payload).collect()
}

/// A frame of any type, by hand.
fn raw(frame_type: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    head(frame_type, body.len(), &mut out);
    out.extend_from_slice(body);
    out
}

fn varints(numbers: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    numbers.iter().for_each(|number| encode_to(number, &mut out));
    out
}

proptest! {
    #[test]
    fn frames_survive_the_wire(frames in prop::collection::vec(made(), 0..6)) {
        let payload = encode(&frames);
        let decoded = decode_all_frames(&payload)?;
        prop_assert_eq!(decoded, frames.iter().map(Made::frame).collect::<Vec<_>>());
    }

    #[test]
    fn the_length_is_known_beforehand(frame in made()) {
        prop_assert_eq!(frame.frame().encoded_len(), encode(&[frame]).len());
    }

    #[test]
    fn any_bytes_are_frames_or_one_error_and_then_the_end(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let frames: Vec<_> = Frames::new(&payload).collect();
        prop_assert!(frames.len() <= payload.len());
        if let Some(at) = frames.iter().position(Result::is_err) {
            prop_assert_eq!(at, frames.len() - 1);
        }
    }

    /// Nearer to the truth than random bytes: honest frames with one byte changed or cut off.
    #[test]
    fn changed_frames_never_panic_and_stay_within_limits(
        frames in prop::collection::vec(made(), 1..4), place: prop::sample::Index, value: u8, cut: prop::sample::Index
    ) {
        let mut payload = encode(&frames);
        let place = place.index(payload.len());
        if let Some(byte) = payload.get_mut(place) {
            *byte = value;
        }
        payload.truncate(cut.index(payload.len() + 1));
        for frame in Frames::new(&payload).flatten() {
            match frame {
                Frame::Ack(ack) => {
                    prop_assert!((1..=ACK_RANGES_MAX).contains(&ack.ranges.len()));
                    prop_assert!(ack.ranges.iter().all(|(first, last)| first <= last));
                    prop_assert!(ack.ranges.is_sorted_by(|a, b| a.0.0 > b.1.0 + 1), "descending, with gaps: {:?}", ack.ranges);
                }
                Frame::Fragment { offset, total, bytes, .. } => {
                    let (end, total) = (offset as usize + bytes.len(), total as usize);
                    prop_assert!(!bytes.is_empty() && end <= total && total <= MESSAGE_LEN_MAX);
                    prop_assert!(end == total || bytes.len() >= FRAGMENT_LEN_MIN);
                }
                Frame::Rekey(part) | Frame::RekeyReply(part) => {
                    prop_assert!(part.part < part.parts && part.parts <= REKEY_PARTS_MAX);
                    prop_assert!((1..=REKEY_PART_LEN_MAX).contains(&part.bytes.len()));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn an_unknown_odd_frame_is_skipped_and_an_unknown_even_one_is_an_error(
        frame_type in 21..5_000u64, body in bytes(0, 100), before in made(), after in made()
    ) {
        let payload = [encode(from_ref(&before)), raw(frame_type, &body), encode(from_ref(&after))].concat();
        let expected = if frame_type % 2 == 1 {
            Ok(vec![before.frame(), after.frame()])
        } else {
            Err(WireError::UnsupportedFrame(frame_type))
        };
        prop_assert_eq!(decode_all_frames(&payload), expected);
    }

    /// Every known frame but padding, a message, a fragment and a rekey part (which end in bytes of any
    /// length) has one length only.
    #[test]
    fn nothing_may_trail_a_body(frame in made(), tail in bytes(1, 20)) {
        let bytes = encode(from_ref(&frame));
        let mut rest = bytes.as_slice();
        let frame_type = varint(&mut rest)?;
        varint(&mut rest)?;
        let longer = raw(frame_type, &[rest, &tail].concat());
        match frame {
            Made::Padding(_) => prop_assert!(decode_all_frames(&longer).is_ok()),
            _ => prop_assert_eq!(decode_all_frames(&longer), Err(WireError::Malformed)),
        }
    }
}

#[test]
fn no_frames_are_no_error() {
    assert_eq!(decode_all_frames(&[]), Ok(Vec::new()));
}

#[test]
fn acks_outside_their_numbers_are_malformed() {
    let ack = |numbers: &[u64]| decode_all_frames(&raw(TYPE_ACK, &varints(numbers))).map(drop);
    assert_eq!(ack(&[0, 10, 1, 10]), Ok(()), "packets 0 to 10");
    assert_eq!(ack(&[0, 10, 1, 11]), Err(WireError::Malformed), "below packet 0");
    assert_eq!(ack(&[0, 10, 0]), Err(WireError::Malformed), "no range");
    assert_eq!(ack(&[0, 10, 2, 5, 3, 0]), Ok(()), "5 to 10 and 0");
    assert_eq!(ack(&[0, 10, 2, 5, 4, 0]), Err(WireError::Malformed), "the gap reaches below 0");
    assert_eq!(ack(&[0, 10, 2, 5, u64::MAX, 0]), Err(WireError::Malformed), "the gap overflows");
    assert_eq!(ack(&[0, 10, 2, 5]), Err(WireError::Malformed), "a range is missing");
    assert_eq!(ack(&[1 << 32, 10, 1, 0]), Err(WireError::Malformed), "an hour of delay and more");
    let mut many = vec![0, u64::MAX, 33, 0];
    many.extend([0, 0].repeat(32));
    assert_eq!(ack(&many), Err(WireError::Malformed), "33 ranges");
    assert_eq!(ack(&[0, u64::MAX, u64::MAX, 0]), Err(WireError::Malformed), "a count that asks for memory");
}

#[test]
fn an_ack_reports_at_most_its_newest_ranges() {
    let ranges: Vec<_> = (0..40).map(|n| (PacketNumber(1_000 - 3 * n), PacketNumber(1_001 - 3 * n))).collect();
    let mut payload = Vec::new();
    Frame::Ack(Ack { delay_us: 0, ranges: ranges.clone() }).encode(&mut payload);
    let newest = Ack { delay_us: 0, ranges: ranges[..ACK_RANGES_MAX].to_vec() };
    assert_eq!(decode_all_frames(&payload), Ok(vec![Frame::Ack(newest)]));
}

#[test]
fn fragments_and_rekey_parts_outside_their_limits_are_malformed() {
    let fragment = |offset, total, len| {
        let mut payload = Vec::new();
        Frame::Fragment { n: 1, offset, total, bytes: &vec![7; len] }.encode(&mut payload);
        decode_all_frames(&payload).map(drop)
    };
    let all = u32::try_from(MESSAGE_LEN_MAX).unwrap();
    assert_eq!(fragment(0, all, 256), Ok(()));
    assert_eq!(fragment(all - 1, all, 1), Ok(()), "the end may be short");
    assert_eq!(fragment(0, 1, 1), Ok(()), "all of it");
    assert_eq!(fragment(0, all + 1, 256), Err(WireError::Malformed), "too long a message");
    assert_eq!(fragment(all - 255, all, 256), Err(WireError::Malformed), "beyond its end");
    assert_eq!(fragment(u32::MAX, all, 256), Err(WireError::Malformed), "far beyond its end");
    assert_eq!(fragment(0, all, 255), Err(WireError::Malformed), "too short");
    assert_eq!(fragment(0, 0, 0), Err(WireError::Malformed), "empty");

    let rekey = |part, parts, len| {
        let mut payload = Vec::new();
        Frame::Rekey(RekeyPart { epoch: Epoch(1), part, parts, bytes: &vec![0; len] }).encode(&mut payload);
        decode_all_frames(&payload).map(drop)
    };
    assert_eq!(rekey(3, 4, 640), Ok(()));
    assert_eq!(rekey(4, 5, 640), Err(WireError::Malformed), "too many parts");
    assert_eq!(rekey(2, 2, 640), Err(WireError::Malformed), "part beyond the parts");
    assert_eq!(rekey(0, 1, 641), Err(WireError::Malformed), "too long");
    assert_eq!(rekey(0, 1, 0), Err(WireError::Malformed), "empty");
}

#[test]
fn a_fragment_fills_the_room_that_it_is_given() {
    for (n, offset, total) in [(1, 0, 5_000), (1 << 40, 70_000, 1_000_000), (300, 249, 251 + 100)] {
        for room in [60, 251, 252, 253, 254, 255, 256, 257, 260, 300, 1_150, 8_900] {
            let len = Frame::fragment_len(n, offset, total, room);
            let frame = |len| Frame::Fragment { n, offset, total, bytes: &[7; 9_000][..len] }.encoded_len();
            assert!(frame(len) <= room, "{room}");
            let rest = usize::try_from(total - offset).unwrap();
            assert!(len == rest || frame(len + 5) > room, "{room}: no more than four bytes are left over");
        }
    }
}

#[test]
fn a_length_beyond_the_packet_is_malformed() {
    for len in [2, 250, 0xffff, u64::from(u32::MAX), u64::MAX] {
        let mut payload = varints(&[TYPE_MESSAGE, len]);
        payload.push(1);
        assert_eq!(decode_all_frames(&payload), Err(WireError::Malformed), "frame of {len}");
        let inner = raw(TYPE_MESSAGE, &varints(&[1, len]));
        assert_eq!(decode_all_frames(&inner), Err(WireError::Malformed), "bytes of {len}");
    }
}

#[test]
fn only_acks_padding_and_close_ask_for_no_ack() {
    let part = RekeyPart { epoch: Epoch(1), part: 0, parts: 1, bytes: b"x" };
    for (frame, eliciting) in [
        (Frame::AckNow, false),
        (Frame::Ack(Ack { delay_us: 0, ranges: vec![(PacketNumber(0), PacketNumber(0))] }), false),
        (Frame::Padding(3), false),
        (Frame::Close(CloseCode::Done), false),
        (Frame::Message { n: 0, bytes: b"" }, true),
        (Frame::Fragment { n: 0, offset: 1, total: 2, bytes: b"x" }, true),
        (Frame::Ping, true),
        (Frame::PathChallenge(1), true),
        (Frame::PathResponse(1), true),
        (Frame::Credit { limit: 1 }, true),
        (Frame::Rekey(part), true),
        (Frame::RekeyReply(part), true),
    ] {
        assert_eq!(frame.is_ack_eliciting(), eliciting, "{frame:?}");
    }
}

/// The numbers of the manual's table; a change here breaks every peer that is out there.
#[test]
fn the_bytes_are_those_of_the_manual() {
    let hex = |frame: Frame<'_>| {
        let mut out = Vec::new();
        frame.encode(&mut out);
        data_encoding::HEXLOWER.encode(&out)
    };
    assert_eq!(hex(Frame::AckNow), "0100");
    assert_eq!(hex(Frame::Padding(2)), "03020000");
    assert_eq!(hex(Frame::Message { n: 300, bytes: b"hi" }), "0406fb2c01026869");
    assert_eq!(hex(Frame::Fragment { n: 1, offset: 1, total: 2, bytes: b"x" }), "06050101020178");
    assert_eq!(hex(Frame::Ping), "0800");
    assert_eq!(hex(Frame::PathChallenge(1)), "0a080100000000000000");
    assert_eq!(hex(Frame::PathResponse(1)), "0c080100000000000000");
    assert_eq!(hex(Frame::Credit { limit: 0x20_0000 }), "0e05fc00002000");
    assert_eq!(hex(Frame::Rekey(RekeyPart { epoch: Epoch(1), part: 0, parts: 2, bytes: b"x" })), "10050100020178");
    assert_eq!(hex(Frame::RekeyReply(RekeyPart { epoch: Epoch(1), part: 1, parts: 2, bytes: b"x" })), "12050101020178");
    assert_eq!(hex(Frame::Close(CloseCode::Superseded)), "140101");
    let ranges = vec![(PacketNumber(8), PacketNumber(10)), (PacketNumber(5), PacketNumber(5))];
    assert_eq!(hex(Frame::Ack(Ack { delay_us: 7, ranges })), "0206070a02020100");
}
