//! Texts on their way to the owner.

use rand_core::RngCore;

use super::{Chat, asked::Asked};
use crate::{
    clock::Now,
    control::{call::Call, proto::Kind},
    id::MessageId,
    text::check_text,
    wire::message::CONTENT_TEXT,
};

impl Chat {
    /// A text comes from the person's editor.
    pub fn handle_edited(&mut self, now: Now, text: &str) {
        self.unix = now.unix;
        self.handle_key(now);
        if text.trim().is_empty() {
            self.print(self.look.note("nothing was written: nothing is sent"));
        } else {
            self.send_to_target(now, text.to_owned(), CONTENT_TEXT);
        }
    }

    pub(super) fn send_to_target(&mut self, now: Now, text: String, kind: u64) -> bool {
        let Some(target) = &self.target else {
            self.wrong("nobody to send this to: choose somebody with /to NAME first", None);
            return false;
        };
        let to = target.id.to_string();
        self.send(now, to, text, kind)
    }

    /// True where the text is on its way.
    pub(super) fn send(&mut self, now: Now, peer: String, text: String, kind: u64) -> bool {
        if let Err(why) = check_text(&text) {
            self.wrong(why, None);
            return false;
        }
        let mut random = [0; 10];
        self.rng.fill_bytes(&mut random);
        let id = MessageId::new(now.unix.0, &random);
        self.owns.insert(now, id, peer, text, Kind(kind));
        self.send_next();
        true
    }

    /// One at a time, so that they are queued in the order they were typed.
    pub(super) fn send_next(&mut self) {
        let Some(own) = self.owns.next_unsent() else { return };
        let (id, send) = (own.id, own.call());
        self.call(Call::Send(send), Asked::Send(id));
    }
}
