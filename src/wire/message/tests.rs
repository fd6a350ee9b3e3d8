//! Items as peers of this, of a later and of no version write them.

use proptest::prelude::*;

use super::*;
use crate::wire::MAP_DEPTH_MAX;

fn peer_id() -> PeerId {
    let mut base = [0x66; 32];
    base[0] = 0x58;
    PeerId::from_bytes(base).unwrap()
}

fn seq() -> impl Strategy<Value = Seq> {
    prop_oneof![1..300u64, 1..=u64::MAX].prop_map(Seq)
}

fn ranges() -> impl Strategy<Value = Vec<(Seq, Seq)>> {
    prop::collection::vec((1..1_000u64, 0..1_000u64), 0..=SEQ_RANGES_MAX).prop_map(|steps| {
        let mut next = 0;
        steps
            .into_iter()
            .map(|(gap, len)| {
                let first = next + gap;
                next = first + len;
                (Seq(first), Seq(next))
            })
            .collect()
    })
}

fn conversation_id() -> impl Strategy<Value = Option<ConversationId>> {
    any::<Option<[u8; 32]>>().prop_map(|bytes| bytes.map(ConversationId::from_bytes))
}

fn item() -> impl Strategy<Value = Item> {
    let text = "[^\0]{0,80}";
    prop_oneof![
        (any::<u8>(), any::<bool>()).prop_map(|(level, reads)| Item::Admission(Admission { level, reads })),
        (conversation_id(), any::<u64>(), seq(), any::<u64>(), any::<Option<(u64, u64)>>(), any::<Option<u64>>(), ranges())
            .prop_map(|(conversation, incarnation, base, more, previous, yours, held)| {
                let mine = Mine {
                    incarnation: Incarnation(incarnation),
                    base,
                    next: Seq(base.0.saturating_add(more)),
                    previous: previous.map(|(incarnation, end)| (Incarnation(incarnation), Seq(end))),
                };
                let yours = yours.map(|incarnation| Yours { incarnation: Incarnation(incarnation), high_water: Seq(0), held });
                Item::Conversation(Conversation { conversation, mine, yours })
            }),
        (conversation_id(), any::<u64>(), seq(), any::<[u8; 16]>(), any::<bool>(), any::<u64>(), any::<u64>(), text).prop_map(
            |(conversation, incarnation, seq, id, author, age_ms, kind, text)| Item::Content(Content {
                conversation,
                incarnation: Incarnation(incarnation),
                seq,
                id: MessageId::from_bytes(id),
                author: author.then(peer_id),
                age_ms,
                kind,
                text,
                more: Vec::new(),
            })
        ),
        (conversation_id(), any::<u64>(), seq(), any::<[u8; 16]>()).prop_map(|(conversation, incarnation, seq, id)| Item::Void(
            Void { conversation, incarnation: Incarnation(incarnation), seq, id: MessageId::from_bytes(id) }
        )),
        (conversation_id(), any::<u64>(), [ranges(), ranges(), ranges(), ranges(), ranges()]).prop_map(
            |(conversation, incarnation, [delivered, void, read, refused, cloned])| {
                let incarnation = Incarnation(incarnation);
                Item::Receipt(Receipt { conversation, incarnation, delivered, void, read, refused, cloned })
            }
        ),
        (any::<u64>(), 0u64..4).prop_map(|(retry_ms, reason)| Item::Busy(Busy { retry_ms, reason: reason.into() })),
        (any::<bool>(), "[^\0]{0,16}").prop_map(|(away, text)| Item::Presence(Presence { away, text })),
        "[^\0]{0,16}".prop_map(|name| Item::Name(Name { name })),
        (any::<[u8; 16]>(), 0u64..3, "[^\0]{1,64}").prop_map(|(id, kind, text)| Item::Request(Request {
            id: MessageId::from_bytes(id),
            kind,
            text
        })),
        (9u8..).prop_map(Item::Unknown),
    ]
}

/// Decodes what a later version has written: `bytes` with `extra` as a further field of its map.
fn with_field(bytes: &[u8], key: &str, value: &[u8]) -> Vec<u8> {
    let (kind, map) = bytes.split_first().unwrap();
    let fields = map[0] & 0x0f;
    assert!(map[0] & 0xf0 == 0x80 && fields < 15, "our items are small maps");
    let mut out = vec![*kind, 0x80 | (fields + 1)];
    out.extend(rmp_serde::to_vec(key).unwrap());
    out.extend_from_slice(value);
    out.extend_from_slice(&map[1..]);
    out
}

fn content(text: &str) -> Content {
    Content {
        conversation: None,
        incarnation: Incarnation(1),
        seq: Seq(1),
        id: MessageId::from_bytes([7; 16]),
        author: None,
        age_ms: 0,
        kind: CONTENT_TEXT,
        text: text.to_owned(),
        more: Vec::new(),
    }
}

/// {"x": [1, {"y": nil}]} as the value of a field.
const NESTED: &[u8] = &[0x81, 0xa1, b'x', 0x92, 0x01, 0x81, 0xa1, b'y', 0xc0];

proptest! {
    #[test]
    fn items_survive_the_wire(item in item()) {
        prop_assert_eq!(Item::decode(&item.encode()), Ok(item));
    }

    #[test]
    fn any_bytes_are_an_item_or_an_error(kind in 0u8..9, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Item::decode(&[vec![kind], body.clone()].concat());
        let _ = HandshakePayload::decode(&body);
    }

    #[test]
    fn changed_items_never_panic_and_what_is_read_can_be_written(item in item(), place: prop::sample::Index, value: u8) {
        let mut bytes = item.encode();
        let place = place.index(bytes.len());
        bytes[place] = value;
        if let Ok(item) = Item::decode(&bytes) {
            prop_assert_eq!(Item::decode(&item.encode()), Ok(item));
        }
    }

    #[test]
    fn fields_of_later_versions_change_nothing_else(item in item(), key in "[A-Z][a-z]{0,10}", flat: u64) {
        for value in [NESTED.to_vec(), rmp_serde::to_vec(&flat).unwrap(), vec![0xc7, 2, 9, 0, 0], vec![0xc0]] {
            let read = Item::decode(&with_field_or_same(&item, &key, &value))?;
            match (read, item.clone()) {
                (Item::Content(read), Item::Content(expected)) => {
                    if expected.more.is_empty() {
                        let mut more = vec![0x81];
                        more.extend(rmp_serde::to_vec(&key).unwrap());
                        more.extend(value);
                        prop_assert_eq!(&read.more, &more, "kept as it came");
                    }
                    prop_assert_eq!(Content { more: Vec::new(), ..read }, expected);
                }
                (read, expected) => prop_assert_eq!(read, expected),
            }
        }
    }

    #[test]
    fn a_cut_item_is_malformed(item in item(), cut: prop::sample::Index) {
        let bytes = item.encode();
        let cut = cut.index(bytes.len());
        let expected = match &bytes[..cut] {
            [kind, ..] if *kind > KIND_REQUEST => Ok(Item::Unknown(*kind)),
            _ => Err(WireError::Malformed),
        };
        prop_assert_eq!(Item::decode(&bytes[..cut]), expected);
    }
}

fn with_field_or_same(item: &Item, key: &str, value: &[u8]) -> Vec<u8> {
    match item {
        Item::Unknown(_) => [item.encode(), value.to_vec()].concat(),
        _ => with_field(&item.encode(), key, value),
    }
}

/// A message of a kind, with fields, that nobody knows yet: stored whole, shown as its text, and what
/// is stored is what was sent.
#[test]
fn a_message_of_a_later_version_is_read_and_written_again_whole() {
    let future = Content { kind: 77, more: NESTED.to_vec(), ..content("a poll: tea or coffee?") };
    let bytes = Item::Content(future.clone()).encode();
    let Ok(Item::Content(read)) = Item::decode(&bytes) else { panic!("not read") };
    assert_eq!(read, future);
    assert_eq!(Item::Content(read).encode(), bytes);
}

#[test]
fn an_unknown_kind_is_unknown_whatever_follows() {
    assert_eq!(Item::decode(&[200]), Ok(Item::Unknown(200)));
    assert_eq!(Item::decode(&[9, 0xc1, 0xff]), Ok(Item::Unknown(9)));
    assert_eq!(Item::decode(&[]), Err(WireError::Malformed));
}

#[test]
fn texts_end_at_their_limit() {
    let longest = Item::Content(content(&"x".repeat(TEXT_LEN_MAX)));
    assert!(longest.encode().len() <= MESSAGE_LEN_MAX);
    assert_eq!(Item::decode(&longest.encode()), Ok(longest));
    assert_eq!(Item::decode(&Item::Content(content(&"x".repeat(TEXT_LEN_MAX + 1))).encode()), Err(WireError::Malformed));
    assert_eq!(Item::decode(&Item::Content(content("a\0b")).encode()), Err(WireError::Malformed), "NUL");
    let stuffed = Content { more: [&[0x81, 0xa1, b'x', 0xc5, 0x10, 0x01][..], &[0; 0x1001]].concat(), ..content("") };
    assert!(Item::decode(&Item::Content(stuffed).encode()).is_ok());
    assert_eq!(Item::decode(&vec![KIND_CONTENT; MESSAGE_LEN_MAX + 1]), Err(WireError::Malformed));
}

#[test]
fn the_longest_receipt_fits_its_limit() {
    let far = |n: u64| Seq(u64::MAX - 100 + n);
    let ranges: Vec<_> = (0..32).map(|n| (far(3 * n), far(3 * n + 1))).collect();
    let receipt = Receipt {
        conversation: Some(ConversationId::from_bytes([9; 32])),
        incarnation: Incarnation(u64::MAX),
        delivered: ranges.clone(),
        void: ranges.clone(),
        read: ranges.clone(),
        refused: ranges.clone(),
        cloned: ranges,
    };
    let bytes = Item::Receipt(receipt.clone()).encode();
    assert!(bytes.len() <= ITEM_LEN_MAX, "{} bytes", bytes.len());
    assert_eq!(Item::decode(&bytes), Ok(Item::Receipt(receipt)));
}

#[test]
fn lists_in_short_items_cannot_ask_for_memory() {
    let mut bytes = vec![KIND_RECEIPT, 0x82, 0xa1, b'i', 0x01, 0xa1, b'd', 0xdd];
    bytes.extend(0x0010_0000_u32.to_be_bytes());
    bytes.resize(ITEM_LEN_MAX * 64, 0x90);
    assert_eq!(Item::decode(&bytes), Err(WireError::Malformed));
}

#[test]
fn seqs_begin_at_one_and_ranges_ascend() {
    let receipt = |delivered: &[(u64, u64)]| {
        let delivered = delivered.iter().map(|&(first, last)| (Seq(first), Seq(last))).collect();
        Item::decode(&Item::Receipt(Receipt { delivered, ..Receipt::default() }).encode()).map(drop)
    };
    assert_eq!(receipt(&[(1, 1), (2, 5), (9, u64::MAX)]), Ok(()));
    assert_eq!(receipt(&[(0, 1)]), Err(WireError::Malformed), "seq 0");
    assert_eq!(receipt(&[(3, 2)]), Err(WireError::Malformed), "backwards");
    assert_eq!(receipt(&[(1, 3), (3, 4)]), Err(WireError::Malformed), "overlapping");
    assert_eq!(receipt(&[(5, 6), (1, 2)]), Err(WireError::Malformed), "descending");
    assert_eq!(receipt(&[(1, 1); 33]), Err(WireError::Malformed), "too many and the same");

    let conversation = |base, next, yours: Option<(u64, u64)>| {
        let mine = Mine { incarnation: Incarnation(1), base: Seq(base), next: Seq(next), previous: None };
        let yours = yours.map(|(high_water, held)| Yours {
            incarnation: Incarnation(1),
            high_water: Seq(high_water),
            held: vec![(Seq(held), Seq(held))],
        });
        Item::decode(&Item::Conversation(Conversation { conversation: None, mine, yours }).encode()).map(drop)
    };
    assert_eq!(conversation(1, 1, None), Ok(()));
    assert_eq!(conversation(0, 1, None), Err(WireError::Malformed), "base 0");
    assert_eq!(conversation(2, 1, None), Err(WireError::Malformed), "base above next");
    assert_eq!(conversation(1, 1, Some((4, 6))), Ok(()));
    assert_eq!(conversation(1, 1, Some((4, 4))), Err(WireError::Malformed), "held below the high-water mark");

    for bytes in [
        Item::Content(Content { seq: Seq(0), ..content("x") }).encode(),
        Item::Void(Void { conversation: None, incarnation: Incarnation(1), seq: Seq(0), id: MessageId::from_bytes([0; 16]) })
            .encode(),
    ] {
        assert_eq!(Item::decode(&bytes), Err(WireError::Malformed), "seq 0");
    }
}

#[test]
fn names_and_statuses_end_at_their_limit() {
    let name = |len: usize| Item::decode(&Item::Name(Name { name: "x".repeat(len) }).encode()).map(drop);
    let status = |len: usize| Item::decode(&Item::Presence(Presence { away: true, text: "x".repeat(len) }).encode()).map(drop);
    assert_eq!((name(NAME_LEN_MAX), name(NAME_LEN_MAX + 1)), (Ok(()), Err(WireError::Malformed)));
    assert_eq!((status(STATUS_LEN_MAX), status(STATUS_LEN_MAX + 1)), (Ok(()), Err(WireError::Malformed)));
}

#[test]
fn an_author_is_a_key_or_the_message_is_malformed() {
    let good = Item::Content(Content { author: Some(peer_id()), ..content("x") }).encode();
    let at = good.windows(32).position(|window| window == peer_id().as_bytes()).unwrap();
    let mut no_key = good;
    no_key[at + 31] |= 0x80;
    assert_eq!(Item::decode(&no_key), Err(WireError::Malformed));
}

#[test]
fn a_payload_of_a_later_version_is_read() {
    let payload = HandshakePayload {
        version: 9,
        boot: BootId(3),
        features: vec!["rooms".to_owned(), "files".to_owned()],
        software: "p2pchat-udp 9.0".to_owned(),
    };
    let mut bytes = payload.encode();
    assert_eq!(HandshakePayload::decode(&bytes), Ok(payload.clone()));
    bytes[0] += 1;
    bytes.extend([0xa6, b'l', b'i', b'm', b'i', b't', b's']);
    bytes.extend_from_slice(NESTED);
    assert_eq!(HandshakePayload::decode(&bytes), Ok(payload));
    bytes.push(0);
    assert_eq!(HandshakePayload::decode(&bytes), Err(WireError::Malformed), "trailing");
    let too_deep = [vec![0x81, 0xa1, b'v'], vec![0x91; MAP_DEPTH_MAX], vec![0x01]].concat();
    assert_eq!(HandshakePayload::decode(&too_deep), Err(WireError::Malformed));
    assert_eq!(HandshakePayload::decode(&vec![0x80; HANDSHAKE_LEN_MAX + 1]), Err(WireError::Malformed));
}
