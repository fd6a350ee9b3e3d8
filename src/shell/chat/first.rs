//! The first words: who I am, who is here, how to write; and what to do where nobody comes.

use super::{Chat, Company, people};
use crate::{control::proto::ReadyLine, shell::render::how_to, text::Shown};

impl Chat {
    pub(super) fn greet(&mut self, ready: &ReadyLine) {
        let name = Shown::line(&ready.name);
        let text = format!("You are {name}, id {}, on UDP port {} (p2pchat-udp {})", ready.id.short(), ready.port, ready.version);
        self.print(self.look.note(&text));
        if self.company == Company::Shell {
            let text = "The same person in two windows: another p2pchat-udp runs on this profile.";
            self.print(self.look.note(text));
            self.print(self.look.note("To try a second person here: p2pchat-udp --data-dir /tmp/second --name second"));
        }
    }

    /// Who is here, and how to write: once, at the start.
    pub(super) fn say_who_is_here(&mut self) {
        self.first = None;
        let here = self.people.tell_first();
        match here.first() {
            Some((_, name)) => {
                let labels: Vec<String> = here.iter().map(|(label, _)| label.to_string()).collect();
                self.print(self.look.note(&format!("Here: {}", people::listed(&labels))));
                let text = format!("Write {} and then your text; /help shows the rest", how_to(name));
                self.print(self.look.note(&text));
            }
            None => {
                self.print(self.look.note("Nobody here yet."));
                self.print(self.look.note("Once somebody is: /to NAME and then your text; /help shows the rest"));
            }
        }
    }

    pub(super) fn say_alone(&mut self) {
        for text in [
            "Still nobody. Is p2pchat-udp running on the other machine, on the same network?",
            "A firewall must let UDP 17117-17133 in, on both.",
            "Alone? `p2pchat-udp demo` shows it with two people on this machine.",
        ] {
            self.print(self.look.note(text));
        }
    }
}
