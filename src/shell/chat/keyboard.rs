//! Whether somebody sits before this window: `/away`, `/back`, and by itself; and whether others' comings and goings are said.

use super::{Chat, Mode, asked::Asked};
use crate::{
    clock::{Instant, Now},
    control::call::{Away, Back, Call},
    text::Shown,
};

impl Chat {
    /// When nothing will have been typed for so long that it is said.
    pub(super) fn idle_at(&self) -> Option<Instant> {
        let after = self.habits.away_after.filter(|_| !self.idle && self.mode != Mode::Script && !self.is_ended())?;
        Some(self.typed_at + after)
    }

    /// Somebody looks at the terminal, or nobody does.
    pub fn handle_attached(&mut self, now: Now, attached: bool) {
        // Who is never away by himself is not so here.
        if self.habits.away_after.is_none() || std::mem::replace(&mut self.attached, attached) == attached {
            return;
        }
        if attached {
            self.handle_key(now);
        } else if !self.idle {
            self.stand_up();
        }
    }

    pub(super) fn stand_up(&mut self) {
        self.idle = true;
        self.call(Call::Away(Away { text: String::new(), idle: true }), Asked::Nothing);
    }

    pub(super) fn sit_down(&mut self) {
        if std::mem::take(&mut self.idle) {
            self.call(Call::Back(Back { idle: true }), Asked::Nothing);
        }
    }

    pub(super) fn go_away(&mut self, text: String) {
        self.call(Call::Away(Away { text: text.clone(), idle: false }), Asked::Away(text));
    }

    pub(super) fn say_away(&mut self, text: &str) {
        let why = if text.is_empty() { String::new() } else { format!(": {}", Shown::short(text, 40)) };
        self.print(self.look.note(&format!("you are away{why}; /back when you are not")));
    }

    pub(super) fn set_joins(&mut self, on: Option<bool>) {
        self.habits.joins = on.unwrap_or(self.habits.joins);
        let text = match (self.habits.joins, on.is_some()) {
            (true, false) => "who comes and goes is said: /joins off",
            (false, false) => "nobody's coming and going is said: /joins on",
            (true, true) => "who comes and goes is said from now on, in this window; `p2pchat-udp config joins on`: always",
            (false, true) => "nobody's coming and going is said any more, in this window; `p2pchat-udp config joins off`: never",
        };
        self.print(self.look.note(text));
    }
}
