//! What the person says of somebody: a contact, another name, a verified key, a block.

use super::{Asked, Chat};
use crate::{
    control::{
        call::{Call, Contact, ContactAction, Told},
        proto::{ContactLine, Trust},
    },
    shell::{parse::quote, render::trust},
    text::Shown,
};

impl Chat {
    pub(super) fn contact(&mut self, action: ContactAction, peer: String, petname: Option<String>) {
        let contact = Contact { action, peer: Some(peer), petname, ..Contact::default() };
        self.call(Call::Contact(contact), Asked::Contact(action));
    }

    pub(super) fn verify(&mut self, peer: String, yes: bool) {
        let contact = Contact { action: ContactAction::Verify, peer: Some(peer), yes, ..Contact::default() };
        self.call(Call::Contact(contact), Asked::Contact(ContactAction::Verify));
    }

    pub(super) fn on_contact(&mut self, action: ContactAction, contact: &ContactLine) {
        let label = self.people.say_of(contact, action);
        let text = match action {
            ContactAction::List | ContactAction::Add => {
                format!("{label} is a contact now, id {}, {}", contact.id.short(), trust(contact.trust))
            }
            ContactAction::Rename if contact.petname.is_none() => format!("{label} is called as it calls itself"),
            ContactAction::Rename => format!("{label} is what you call {} now", Shown::line(&contact.name)),
            ContactAction::Verify if contact.trust == Trust::Verified => format!("{label} is verified"),
            ContactAction::Verify => return self.print_words(contact),
            ContactAction::Receipts => match contact.receipts {
                Told::On => format!("{label} learns what you have read"),
                Told::Off => format!("{label} does not learn what you have read"),
                Told::Default => format!("{label} learns what you have read where all contacts do: /receipts"),
            },
            ContactAction::Block => {
                format!("{label} is blocked and not told so; /unblock {} takes it back", self.written(contact))
            }
            ContactAction::Unblock => format!("{label} is not blocked"),
            ContactAction::Remove => format!("{label} is no contact any more"),
        };
        self.print(self.look.note(&text));
        if self.target.as_ref().is_some_and(|target| target.id == contact.id) {
            self.set_target(Some(contact.id));
        }
    }

    fn print_words(&mut self, contact: &ContactLine) {
        let label = self.people.label(&contact.id);
        self.print(self.look.note(&format!("You and {label} must both see these words, or somebody stands between you:")));
        let words = contact.words.as_deref().unwrap_or_default();
        for row in words.chunks(4) {
            self.print(self.look.note(&format!("    {}", row.join("  "))));
        }
        let text = format!("Compare them aloud. They are the same? /verify {} yes", self.written(contact));
        self.print(self.look.note(&text));
    }

    fn written(&self, contact: &ContactLine) -> String {
        quote(&self.people.written(&contact.id))
    }
}
