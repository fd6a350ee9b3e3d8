//! `/config`, and `/editor`, which needs a target before anything is written.

use serde_json::Value;

use super::{Action, Chat, Mode, asked::Asked};
use crate::control::{
    call::{Call, Config},
    proto::ConfigLine,
};

impl Chat {
    pub(super) fn config(&mut self, key: Option<String>, value: Option<String>) {
        self.call(Call::Config(Config { key, value }), Asked::Config);
    }

    /// A setting, as it is or as it was just set; what this window goes by it goes by at once.
    pub(super) fn on_config(&mut self, line: &ConfigLine) {
        let mut later = line.later();
        if line.counts.is_some() {
            match (line.key.as_str(), &line.value) {
                ("joins", Value::Bool(joins)) => {
                    self.habits.joins = *joins;
                    later = None;
                }
                ("name", Value::String(name)) => {
                    self.people.set_own_name(name);
                    self.name.clone_from(name);
                }
                _ => {}
            }
        }
        self.print(line.words());
        if let Some(later) = later {
            self.print(self.look.note(&later));
        }
    }

    pub(super) fn edit(&mut self, text: String) {
        if self.target.is_none() {
            self.wrong("nobody to send this to: choose somebody with /to NAME first", None);
        } else if self.mode != Mode::Edited {
            self.wrong("/editor needs the terminal to itself: it is not for scripts, nor for --plain", None);
        } else {
            self.actions.push_back(Action::Edit(text));
        }
    }
}
