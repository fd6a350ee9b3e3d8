//! `/passwd`: asks for the present password, where there is one, and twice for the new one; then has the owner change it.

use zeroize::Zeroizing;

use super::{
    Action, Chat,
    asked::{Asked, Changing},
};
use crate::control::call::{Call, Passwd, Secret, changed};

/// What the next secret is.
#[derive(Debug)]
pub(super) enum Next {
    Old,
    New { old: Option<Secret> },
    Again { old: Option<Secret>, new: Secret },
}

impl Next {
    const fn question(&self) -> &'static str {
        match self {
            Self::Old => "Present password: ",
            Self::New { .. } => "New password (empty: none): ",
            Self::Again { .. } => "The same again: ",
        }
    }
}

impl Chat {
    pub(super) fn ask_passwords(&mut self, had_one: bool) {
        self.print(self.look.note("a forgotten password is final: nobody can open the profile without it"));
        self.ask_secret(if had_one { Next::Old } else { Next::New { old: None } });
    }

    fn ask_secret(&mut self, next: Next) {
        self.actions.push_back(Action::Ask(next.question()));
        self.secret = Some(next);
    }

    /// What [`Action::Ask`] asked for.
    pub fn handle_secret(&mut self, text: Zeroizing<String>) {
        let given = Secret::new(text);
        match self.secret.take() {
            None => {}
            Some(Next::Old) => self.ask_secret(Next::New { old: Some(given) }),
            Some(Next::New { old }) => self.ask_secret(Next::Again { old, new: given }),
            Some(Next::Again { new, .. }) if new != given => {
                self.wrong("the two passwords differ", Some("nothing was changed; /passwd asks again"));
            }
            Some(Next::Again { old, new }) => {
                let changing = Changing { had_one: old.is_some(), has_one: !new.is_empty() };
                self.call(Call::Passwd(Passwd { old, new: Some(new) }), Asked::Passwd(changing));
            }
        }
    }

    /// The person, or the script, does not answer [`Action::Ask`].
    pub fn handle_no_secret(&mut self) {
        if self.secret.take().is_some() {
            self.print(self.look.note("nothing was changed"));
        }
    }

    pub(super) fn say_changed(&mut self, changing: Changing) {
        self.print(self.look.note(changed(changing.had_one, changing.has_one)));
    }
}
