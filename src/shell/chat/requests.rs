//! Strangers who ask to write: they are shown, and answered.

use super::{About, Asked, Chat, Mode};
use crate::{
    clock::Unix,
    control::{
        call::{self, Call, Contact, ContactAction, Requests, RequestsAction, Told},
        proto::{Allow, ContactLine, RequestLine},
    },
    shell::parse::quote,
};

impl Chat {
    pub(super) fn ask_requests(&mut self) {
        self.call(Call::Requests(Requests::default()), Asked::Requests(Vec::new()));
    }

    pub(super) fn answer_request(&mut self, action: RequestsAction, peer: String) {
        self.call(Call::Requests(Requests { action, peer: Some(peer) }), Asked::Answer(action));
    }

    pub(super) fn allow(&mut self, to: Option<Allow>) {
        match to {
            Some(to) => self.call(Call::Allow(call::Allow { to }), Asked::Allow(to)),
            None => self.call(Call::STATUS, Asked::Status(About::Allow)),
        }
    }

    pub(super) fn receipts(&mut self, peer: Option<String>, told: Option<Told>) {
        match (peer, told) {
            (Some(peer), told) => {
                let contact = Contact { action: ContactAction::Receipts, peer: Some(peer), told, ..Contact::default() };
                self.call(Call::Contact(contact), Asked::Contact(ContactAction::Receipts));
            }
            (None, Some(told)) => {
                let on = told == Told::On;
                self.call(Call::Receipts(call::Receipts { on }), Asked::Receipts(on));
            }
            (None, None) => self.call(Call::STATUS, Asked::Status(About::Receipts)),
        }
    }

    pub(super) fn say_receipts(&mut self, on: bool) {
        let text = if on { "contacts learn what you have read" } else { "nobody learns what you have read" };
        self.print(self.look.note(&format!("{text}, but where /receipts PEER says otherwise")));
    }

    /// Somebody asks just now.
    pub(super) fn on_request(&mut self, request: &RequestLine, now: Unix) {
        self.print_request(request, now);
        let (label, who) = (self.people.label(&request.peer), quote(&self.people.written(&request.peer)));
        let text = format!("{label} waits for your answer: /accept {who}, /refuse {who} or /block {who}");
        if self.mode != Mode::Script {
            self.print(self.look.note(&text));
        }
    }

    fn print_request(&mut self, request: &RequestLine, now: Unix) {
        let label = self.people.meet(request.peer, &request.name);
        self.print(self.look.request(request, &label, now));
    }

    pub(super) fn print_requests(&mut self, rows: &[RequestLine]) {
        if rows.is_empty() {
            return self.print(self.look.note("nobody asks to write"));
        }
        rows.iter().for_each(|row| self.print_request(row, self.unix));
        self.print(self.look.note("/accept NAME: a contact, whose message comes; /refuse NAME: nothing comes, and NAME is told"));
    }

    /// Who asked while nobody looked.
    pub(super) fn say_asking(&mut self, rows: &[RequestLine]) {
        let text = match rows.len() {
            0 => return,
            1 => "1 stranger asks to write: /requests".to_owned(),
            n => format!("{n} strangers ask to write: /requests"),
        };
        self.print(self.look.note(&text));
    }

    pub(super) fn on_request_answered(&mut self, action: RequestsAction, contact: &ContactLine) {
        let label = self.people.meet(contact.id, &contact.name);
        let text = match action {
            RequestsAction::Refuse => format!("{label} is refused, and told so"),
            _ => format!("{label} is a contact now: what waits there comes"),
        };
        self.print(self.look.note(&text));
    }

    pub(super) fn say_allow(&mut self, allow: Allow) {
        let text = match allow {
            Allow::Lan => "contacts and who is on your LAN may write; anybody else can ask to",
            Allow::Requests => "contacts may write; anybody else can ask to",
            Allow::Contacts => "contacts may write, and nobody else can ask to",
        };
        self.print(self.look.note(text));
    }
}
