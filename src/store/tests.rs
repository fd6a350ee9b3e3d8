//! What each operation does.

mod backup;
mod file;
mod hot;
mod migrating;
mod oracle;
mod retention;
mod sealed;
mod sealing;
mod searching;

use std::{collections::BTreeMap, sync::Arc};

use redb::backends::InMemoryBackend;

use super::{
    row::{
        Contact, ConversationRow, Direction, HELD_VOID, HistoryRow, MineRow, Op, OutboxRow, State, Trust, VoidReason, YoursRow,
    },
    *,
};
use crate::{
    clock::Unix,
    id::{BatchId, ConversationId, Incarnation, MessageId, PeerId, Seq},
};

fn fresh() -> Fresh {
    Fresh { secret: [7; 32], name: "alice".to_owned(), boot: BootId(1) }
}

fn new_store() -> Store {
    Store::create_backend(InMemoryBackend::new(), &fresh()).unwrap()
}

/// The `n`-th of some valid ids.
fn peer(n: u8) -> PeerId {
    let keys = (0..=u8::MAX).map(|i| ed25519_dalek::SigningKey::from_bytes(&[i; 32]).verifying_key().to_bytes());
    keys.filter_map(|key| PeerId::from_bytes(key).ok()).nth(n.into()).unwrap()
}

fn me() -> PeerId {
    peer(0)
}

fn conversation(n: u8) -> ConversationId {
    ConversationId::direct(&me(), &peer(n))
}

fn id(n: u64) -> MessageId {
    MessageId::new(n, &[9; 10])
}

fn text(n: u64) -> String {
    format!("message {n}")
}

fn line_in(from: u8, seq: u64, n: u64) -> HistoryRow {
    HistoryRow {
        id: id(n),
        conversation: conversation(from),
        peer: peer(from),
        name: String::new(),
        direction: Direction::In,
        incarnation: Incarnation(1),
        seq: Seq(seq),
        kind: 0,
        text: text(n),
        more: Vec::new(),
        sent_at: Unix(n),
        received_at: Unix(1_000 + n),
        late: false,
        state: State::Delivered,
        reason: String::new(),
    }
}

fn line_out(to: u8, seq: u64, n: u64) -> HistoryRow {
    HistoryRow { direction: Direction::Out, state: State::Queued, ..line_in(to, seq, n) }
}

fn waiting(to: u8, seq: u64, n: u64) -> OutboxRow {
    OutboxRow {
        conversation: conversation(to),
        peer: peer(to),
        seq: Seq(seq),
        id: id(n),
        kind: 0,
        text: text(n),
        created: Unix(n),
        expires: None,
        void: None,
    }
}

fn queue(to: u8, seq: u64, n: u64) -> Op {
    Op::Queue(waiting(to, seq, n), line_out(to, seq, n))
}

fn settle(to: u8, seq: u64, state: State) -> Op {
    Op::Settle { conversation: conversation(to), seq: Seq(seq), state, reason: "" }
}

fn release(from: u8, seq: u64) -> Op {
    Op::Release(conversation(from), Incarnation(1), Seq(seq))
}

fn commit(store: &mut Store, ops: Vec<Op>) -> Committed {
    store.commit(WriteBatch { id: BatchId(1), ops: Arc::new(ops) }).unwrap()
}

fn history(store: &Store) -> Vec<HistoryRow> {
    let rows = store.reader().history(&HistoryQuery::default()).unwrap();
    assert_eq!(rows.damaged, []);
    rows.rows.into_iter().map(|(_, row)| row).collect()
}

fn ids(rows: &[HistoryRow]) -> Vec<MessageId> {
    rows.iter().map(|row| row.id).collect()
}

fn outbox(store: &Store, to: u8) -> Vec<OutboxRow> {
    store.reader().outbox(conversation(to), Seq(0), 256, usize::MAX).unwrap().rows
}

#[test]
fn a_new_profile_is_loaded_as_it_was_made() {
    let loaded = new_store().reader().load().unwrap();
    assert_eq!((loaded.secret, loaded.name.as_str(), loaded.boot), ([7; 32], "alice", BootId(1)));
    assert_eq!((loaded.contacts.len(), loaded.conversations.len(), loaded.outbox_len), (0, 0, 0));
}

#[test]
fn what_is_replaced_is_replaced() {
    let mut store = new_store();
    let contact = Contact {
        id: peer(1),
        more_ids: Vec::new(),
        name: "bob".to_owned(),
        petname: Some("robert".to_owned()),
        trust: Trust::Seen,
        added: true,
        since: Unix(5),
        last_heard: Some(Unix(6)),
        boot: BootId(7),
        announce_seq: 8,
        addresses: vec!["192.0.2.7:17118".parse().unwrap(), "[2001:db8::1]:17118".parse().unwrap()],
        seeds: vec!["seed.example:17118".to_owned()],
        request: None,
        receipts: None,
        refused: false,
    };
    let row = ConversationRow {
        id: conversation(1),
        peer: peer(1),
        mine: MineRow { incarnation: Incarnation(3), next: Seq(4), previous: Some((Incarnation(2), Seq(9))), sent_below: None },
        yours: vec![YoursRow { incarnation: Incarnation(1), high_water: Seq(2), held: vec![(Seq(4), Seq(6))] }],
        unread: 10,
        read: Vec::new(),
    };
    let ops = [Op::Boot(BootId(9)), Op::Name("al".to_owned()), Op::Contact(contact.clone()), Op::Conversation(row.clone())];
    commit(&mut store, ops.to_vec());
    let loaded = store.reader().load().unwrap();
    assert_eq!((loaded.name.as_str(), loaded.boot), ("al", BootId(9)));
    assert_eq!((&loaded.contacts, &loaded.conversations), (&vec![contact.clone()], &vec![row.clone()]));

    let contact = Contact { trust: Trust::Blocked, ..contact };
    let row = ConversationRow { yours: Vec::new(), unread: 0, ..row };
    commit(&mut store, vec![Op::Contact(contact.clone()), Op::Conversation(row.clone())]);
    let loaded = store.reader().load().unwrap();
    assert_eq!((loaded.contacts, loaded.conversations), (vec![contact], vec![row]));
}

#[test]
fn a_queued_message_waits_and_stands_in_the_history() {
    let mut store = new_store();
    commit(&mut store, vec![queue(1, 1, 11), queue(1, 2, 12), queue(2, 1, 13)]);
    assert_eq!(outbox(&store, 1), [waiting(1, 1, 11), waiting(1, 2, 12)]);
    assert_eq!(history(&store), [line_out(1, 1, 11), line_out(1, 2, 12), line_out(2, 1, 13)]);
    let reader = store.reader();
    assert_eq!(reader.outbox_by_id(id(13)).unwrap(), Some(waiting(2, 1, 13)));
    assert_eq!(reader.own_by_id(id(12)).unwrap(), Some(line_out(1, 2, 12)));
    assert_eq!(reader.history_by_id(peer(1), id(12)).unwrap(), Some(line_out(1, 2, 12)));
    assert_eq!(reader.history_by_id(peer(2), id(12)).unwrap(), None, "another conversation");
    let loaded = reader.load().unwrap();
    assert_eq!(loaded.outbox_len, 3);
    assert_eq!(loaded.outbox_counts, BTreeMap::from([(conversation(1), (Seq(1), 2)), (conversation(2), (Seq(1), 1))]));
}

#[test]
fn a_message_is_queued_once_even_after_it_was_delivered() {
    let mut store = new_store();
    commit(&mut store, vec![queue(1, 1, 11)]);
    commit(&mut store, vec![queue(1, 1, 11), queue(1, 2, 11)]);
    assert_eq!(outbox(&store, 1), [waiting(1, 1, 11)]);
    commit(&mut store, vec![settle(1, 1, State::Delivered)]);
    commit(&mut store, vec![queue(1, 3, 11)]);
    assert_eq!(outbox(&store, 1), []);
    assert_eq!(history(&store), [HistoryRow { state: State::Delivered, ..line_out(1, 1, 11) }]);
}

#[test]
fn a_settled_message_leaves_the_outbox_and_tells_its_end() {
    let mut store = new_store();
    commit(&mut store, vec![queue(1, 1, 11), queue(1, 2, 12), queue(1, 3, 13)]);
    let refused = Op::Settle { conversation: conversation(1), seq: Seq(2), state: State::Failed, reason: "refused" };
    commit(&mut store, vec![settle(1, 1, State::Delivered), refused, settle(1, 9, State::Delivered), settle(7, 1, State::Read)]);
    assert_eq!(outbox(&store, 1), [waiting(1, 3, 13)]);
    let states: Vec<_> = history(&store).into_iter().map(|row| (row.state, row.reason)).collect();
    let said = |state, reason: &str| (state, reason.to_owned());
    assert_eq!(states, [said(State::Delivered, ""), said(State::Failed, "refused"), said(State::Queued, "")]);
}

#[test]
fn a_state_never_goes_back() {
    let mut store = new_store();
    commit(&mut store, vec![queue(1, 1, 11)]);
    let mut state_after = |op: Op| {
        commit(&mut store, vec![op]);
        history(&store)[0].state
    };
    assert_eq!(state_after(Op::State(id(11), State::Sent)), State::Sent);
    assert_eq!(state_after(Op::State(id(11), State::Queued)), State::Sent);
    assert_eq!(state_after(settle(1, 1, State::Delivered)), State::Delivered);
    assert_eq!(state_after(Op::State(id(11), State::Sent)), State::Delivered);
    assert_eq!(state_after(Op::State(id(11), State::Read)), State::Read);
    assert_eq!(state_after(Op::State(id(11), State::Delivered)), State::Read);
    assert_eq!(state_after(Op::State(id(99), State::Read)), State::Read, "of an unknown message: nothing");
}

#[test]
fn a_withdrawn_message_leaves_a_hole_in_the_outbox() {
    let mut store = new_store();
    commit(&mut store, vec![queue(1, 1, 11)]);
    let hole = OutboxRow { void: Some(VoidReason::Cancelled), text: String::new(), ..waiting(1, 1, 11) };
    commit(&mut store, vec![Op::Outbox(hole.clone())]);
    assert_eq!(outbox(&store, 1), [hole]);
    commit(&mut store, vec![settle(1, 1, State::Cancelled)]);
    assert_eq!(history(&store), [HistoryRow { state: State::Cancelled, ..line_out(1, 1, 11) }]);
}

#[test]
fn a_message_moves_to_another_seq() {
    let mut store = new_store();
    commit(&mut store, vec![queue(1, 5, 11), queue(1, 6, 12)]);
    let moved = [waiting(1, 1, 11), waiting(1, 2, 12)];
    let mut ops = vec![Op::Unqueue(conversation(1), Seq(5)), Op::Unqueue(conversation(1), Seq(6))];
    ops.extend(moved.iter().cloned().map(Op::Outbox));
    commit(&mut store, ops.clone());
    commit(&mut store, ops);
    assert_eq!(outbox(&store, 1), moved);
    assert_eq!(store.reader().outbox_by_id(id(12)).unwrap(), Some(waiting(1, 2, 12)));
    commit(&mut store, vec![settle(1, 2, State::Delivered)]);
    assert_eq!(store.reader().own_by_id(id(12)).unwrap().unwrap().state, State::Delivered);
    assert_eq!(store.reader().own_by_id(id(11)).unwrap().unwrap().state, State::Queued);
}

#[test]
fn an_outbox_row_without_a_history_keeps_its_own_text() {
    let mut store = new_store();
    let other = OutboxRow { text: "not what the history says".to_owned(), ..waiting(1, 2, 12) };
    commit(&mut store, vec![Op::Outbox(waiting(1, 1, 11)), queue(1, 2, 12), Op::Outbox(other.clone())]);
    assert_eq!(outbox(&store, 1), [waiting(1, 1, 11), other]);
}

#[test]
fn a_message_that_comes_twice_stands_there_once() {
    let mut store = new_store();
    let committed = commit(&mut store, vec![Op::Receive(line_in(1, 1, 21))]);
    assert!(!committed.is_duplicate(&line_in(1, 1, 21)));
    // Again, and under another place of a new incarnation; the same id from somebody else is another message.
    let again = HistoryRow { incarnation: Incarnation(2), ..line_in(1, 1, 21) };
    let committed =
        commit(&mut store, vec![Op::Receive(line_in(1, 1, 21)), Op::Receive(again.clone()), Op::Receive(line_in(2, 1, 21))]);
    assert!(committed.is_duplicate(&line_in(1, 1, 21)) && committed.is_duplicate(&again));
    assert!(!committed.is_duplicate(&line_in(2, 1, 21)));
    assert_eq!(history(&store), [line_in(1, 1, 21), line_in(2, 1, 21)]);
    assert_eq!(store.reader().received_id(conversation(1), Incarnation(2), Seq(1)).unwrap(), Some(id(21)));
}

#[test]
fn one_message_under_two_places_of_a_batch_is_new_once() {
    let mut store = new_store();
    let committed = commit(&mut store, vec![Op::Receive(line_in(1, 1, 21)), Op::Receive(line_in(1, 2, 21))]);
    assert!(!committed.is_duplicate(&line_in(1, 1, 21)));
    assert!(committed.is_duplicate(&line_in(1, 2, 21)));
}

#[test]
fn a_peer_cannot_hide_my_message_behind_its_id() {
    let mut store = new_store();
    commit(&mut store, vec![queue(1, 1, 11)]);
    let committed = commit(&mut store, vec![Op::Receive(line_in(1, 1, 11))]);
    assert!(!committed.is_duplicate(&line_in(1, 1, 11)));
    commit(&mut store, vec![settle(1, 1, State::Delivered)]);
    assert_eq!(history(&store), [HistoryRow { state: State::Delivered, ..line_out(1, 1, 11) }, line_in(1, 1, 11)]);
    assert_eq!(store.reader().own_by_id(id(11)).unwrap().unwrap().direction, Direction::Out);
}

#[test]
fn a_held_message_is_invisible_until_its_release() {
    let mut store = new_store();
    let hole = HistoryRow { kind: HELD_VOID, text: String::new(), ..line_in(1, 3, 23) };
    commit(&mut store, vec![Op::Hold(line_in(1, 2, 22)), Op::Hold(hole), Op::Hold(line_in(1, 2, 22))]);
    assert_eq!(history(&store), []);
    assert_eq!(store.reader().unread().unwrap(), BTreeMap::new());
    assert_eq!(store.reader().held(conversation(1), Incarnation(1), Seq(2)).unwrap().rows, [line_in(1, 2, 22)]);
    assert_eq!(store.reader().received_id(conversation(1), Incarnation(1), Seq(3)).unwrap(), Some(id(23)));

    let committed = commit(&mut store, vec![Op::Receive(line_in(1, 1, 21)), release(1, 2), release(1, 3), release(1, 4)]);
    assert_eq!(committed.released(), [line_in(1, 2, 22)]);
    assert!(!committed.is_duplicate(&line_in(1, 2, 22)));
    assert_eq!(history(&store), [line_in(1, 1, 21), line_in(1, 2, 22)]);
    assert_eq!(store.reader().held(conversation(1), Incarnation(1), Seq(2)).unwrap().rows, []);
    assert_eq!(store.reader().unread().unwrap(), BTreeMap::from([(peer(1), 2)]));
    assert_eq!(commit(&mut store, vec![release(1, 2)]).released(), [], "a second time: nothing");
}

#[test]
fn a_held_message_that_is_known_by_then_is_a_duplicate() {
    let mut store = new_store();
    commit(&mut store, vec![Op::Hold(line_in(1, 2, 21)), Op::Receive(line_in(1, 1, 21))]);
    let committed = commit(&mut store, vec![release(1, 2)]);
    assert!(committed.is_duplicate(&line_in(1, 2, 21)));
    assert_eq!(committed.released(), []);
    assert_eq!(ids(&history(&store)), [id(21)]);
}

#[test]
fn a_cloned_profile_loses_neither_of_two_messages_at_one_place() {
    let mut store = new_store();
    commit(&mut store, vec![Op::Hold(line_in(1, 2, 21)), Op::Hold(line_in(1, 2, 22))]);
    assert_eq!(store.reader().received_id(conversation(1), Incarnation(1), Seq(2)).unwrap(), Some(id(21)), "the first");
    assert_eq!(commit(&mut store, vec![release(1, 2)]).released(), [line_in(1, 2, 21), line_in(1, 2, 22)]);
    commit(&mut store, vec![Op::Receive(line_in(1, 3, 23)), Op::Receive(line_in(1, 3, 24))]);
    assert_eq!(ids(&history(&store)), [id(21), id(22), id(23), id(24)]);
}

#[test]
fn reading_up_to_a_line_leaves_what_follows_unread() {
    let mut store = new_store();
    let came = [Op::Receive(line_in(1, 1, 21)), Op::Receive(line_in(1, 2, 22)), queue(1, 1, 11), Op::Receive(line_in(1, 3, 23))];
    commit(&mut store, came.to_vec());
    commit(&mut store, vec![Op::Receive(line_in(2, 1, 31))]);
    assert_eq!(store.reader().unread().unwrap(), BTreeMap::from([(peer(1), 3), (peer(2), 1)]));
    for _ in 0..2 {
        commit(&mut store, vec![Op::MarkRead(peer(1), id(22))]);
        assert_eq!(store.reader().unread().unwrap(), BTreeMap::from([(peer(1), 1), (peer(2), 1)]));
    }
    let states: Vec<_> = history(&store).iter().map(|row| row.state).collect();
    assert_eq!(states, [State::Read, State::Read, State::Queued, State::Delivered, State::Delivered]);
    // Backwards, of an unknown message, of an unknown peer: nothing.
    commit(&mut store, vec![Op::MarkRead(peer(1), id(21)), Op::MarkRead(peer(1), id(99)), Op::MarkRead(peer(5), id(22))]);
    assert_eq!(store.reader().unread().unwrap()[&peer(1)], 1);
    commit(&mut store, vec![Op::MarkRead(peer(1), id(23)), Op::Receive(line_in(1, 4, 24))]);
    assert_eq!(store.reader().unread().unwrap()[&peer(1)], 1);
}

#[test]
fn pages_of_the_history_come_in_order_of_commit() {
    let mut store = new_store();
    let ops = (1..=600).map(|n| Op::Receive(line_in(1 + u8::try_from(n % 3).unwrap(), n, n)));
    commit(&mut store, ops.collect());
    let reader = store.reader();
    let page = |query: HistoryQuery| reader.history(&query).unwrap().rows;
    let last = page(HistoryQuery { limit: 1_000, ..HistoryQuery::default() });
    assert_eq!((last.len(), last[0].1.id, last[255].1.id), (256, id(345), id(600)), "the newest, a page at most");
    let before = page(HistoryQuery { before: Some(last[0].0), limit: 2, ..HistoryQuery::default() });
    assert_eq!(before.iter().map(|row| row.1.id).collect::<Vec<_>>(), [id(343), id(344)]);
    let mut forward = Vec::new();
    let mut after = Some(0);
    while let Some(from) = after {
        let rows = page(HistoryQuery { peer: Some(peer(2)), after: Some(from), limit: 70, ..HistoryQuery::default() });
        after = rows.last().map(|row| row.0);
        forward.extend(rows.into_iter().map(|row| row.1.id));
    }
    assert_eq!(forward, (1..=600).filter(|n| n % 3 == 1).map(id).collect::<Vec<_>>());
    assert_eq!(page(HistoryQuery { since: Some(Unix(1_599)), ..HistoryQuery::default() }).len(), 2);
    assert_eq!(page(HistoryQuery { peer: Some(peer(9)), ..HistoryQuery::default() }), []);
}

#[test]
fn a_search_knows_words_beginnings_and_phrases() {
    let mut store = new_store();
    let said = |n, text: &str| Op::Receive(HistoryRow { text: text.to_owned(), ..line_in(1, n, n) });
    commit(&mut store, vec![said(1, "Das Café macht um acht auf."), said(2, "acht Kaffee, bitte"), said(3, "achtung!")]);
    let found = |words: &[&str]| {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        let rows = store.reader().history(&HistoryQuery { words, ..HistoryQuery::default() }).unwrap().rows;
        rows.into_iter().map(|row| row.1.seq.0).collect::<Vec<_>>()
    };
    assert_eq!(found(&["acht"]), [1, 2]);
    assert_eq!(found(&["ACHT*"]), [1, 2, 3]);
    assert_eq!(found(&["cafe"]), [1]);
    assert_eq!(found(&["um acht"]), [1]);
    assert_eq!(found(&["acht", "bitte"]), [2]);
    assert!(found(&["acht um"]).is_empty());
}

#[test]
fn the_outbox_comes_in_pages() {
    let mut store = new_store();
    commit(&mut store, (1..=20).map(|n| queue(1 + u8::try_from(n % 2).unwrap(), n, n)).collect());
    let reader = store.reader();
    let rows = reader.outbox(conversation(1), Seq(5), 3, usize::MAX).unwrap().rows;
    assert_eq!(rows, [waiting(1, 6, 6), waiting(1, 8, 8), waiting(1, 10, 10)]);
    assert_eq!(reader.outbox(conversation(1), Seq(0), 256, 10).unwrap().rows.len(), 2, "9 bytes are less than 10");
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = reader.outbox_page(after, 7).unwrap().rows;
        let Some(last) = page.last() else { break };
        after = Some((last.conversation, last.seq));
        all.extend(page.into_iter().map(|row| row.id));
    }
    assert_eq!(all.len(), 20);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 20);
}

#[test]
fn a_reader_sees_what_is_committed_from_any_thread() {
    let mut store = new_store();
    let reader = store.reader();
    commit(&mut store, vec![queue(1, 1, 11)]);
    let seen = std::thread::spawn(move || (reader.load().unwrap().outbox_len, reader)).join().unwrap();
    assert_eq!(seen.0, 1);
    drop(store);
    assert_eq!(seen.1.load(), Err(ReadError::Closed));
}
