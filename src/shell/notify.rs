//! `notify_cmd`: runs beside the shell, one at a time, and keeps nobody waiting. When it runs is `chat`'s decision.

use tokio::sync::mpsc;

use super::Aside;
use crate::{control::proto::MessageLine, exec::Exec, id::PeerId};

/// Runs the program for one message after the other.
#[derive(Debug)]
pub(super) struct Notifier {
    messages: mpsc::Sender<MessageLine>,
}

impl Notifier {
    /// What fails is said by `asides`. Must be called in a tokio runtime.
    pub(super) fn start(exec: Exec, me: PeerId, asides: mpsc::UnboundedSender<Aside>) -> Self {
        // One runs and one waits; whoever is told of these will look.
        let (messages, mut todo) = mpsc::channel::<MessageLine>(1);
        tokio::spawn(async move {
            let mut said = None;
            while let Some(message) = todo.recv().await {
                let failure = exec.run(&message, &me, false).await.err().map(|error| format!("notify_cmd: {error}"));
                // What goes on failing is said once.
                if let Some(text) = failure.clone().filter(|_| failure != said) {
                    let _ = asides.send(Aside::Note(text));
                }
                said = failure;
            }
        });
        Self { messages }
    }

    pub(super) fn tell(&self, message: MessageLine) {
        let _ = self.messages.try_send(message);
    }
}
