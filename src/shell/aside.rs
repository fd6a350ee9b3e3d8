//! What runs beside the shell comes to its end: an export, a program of the user's, the person's editor.

use super::{Aside, Shell};
use crate::{clock::Now, text::Shown};

impl Shell {
    pub(super) fn on_aside(&mut self, now: Now, aside: Aside) {
        match aside {
            Aside::Edited(outcome) => {
                self.editing = false;
                self.desk.take_back();
                match outcome {
                    Ok(text) if self.code.is_some() => self.say_unsent(&text),
                    Ok(text) => {
                        self.chat.handle_edited(now, &text);
                        self.edited = Some(text);
                    }
                    Err(error) => self.fail(&error),
                }
            }
            Aside::Note(text) => self.desk.print(self.chat.look().note(&text)),
            Aside::Saved(outcome) => {
                self.saving -= 1;
                match outcome {
                    Ok(text) => self.desk.print(self.chat.look().note(&text)),
                    Err(error) => self.fail(&error),
                }
            }
        }
    }

    /// It is time to leave, and somebody still writes: the terminal is theirs until they have saved.
    pub(super) async fn editor_ends(&mut self) {
        while self.editing {
            let Some(aside) = self.asides.recv().await else { return };
            self.code = self.code.or(Some(0));
            self.on_aside(self.clock.now(), aside);
        }
    }

    /// Nobody is there any more to send it.
    fn say_unsent(&self, text: &str) {
        if !text.trim().is_empty() {
            let lines: Vec<String> = Shown::lines(text).iter().map(ToString::to_string).collect();
            self.desk.print(format!("{}\n{}", self.chat.look().note("the chat has ended: this was not sent"), lines.join("\n")));
        }
    }
}
