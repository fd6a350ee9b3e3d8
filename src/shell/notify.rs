//! `notify_cmd`: runs beside the shell, one at a time, and keeps nobody waiting. When it runs is `chat`'s decision.

use tokio::sync::mpsc;

use crate::{
    control::proto::MessageLine,
    exec::{Exec, ExecError},
    id::PeerId,
};

/// Runs the program for one message after the other.
#[derive(Debug)]
pub(super) struct Notifier {
    messages: mpsc::Sender<MessageLine>,
    failures: mpsc::Receiver<ExecError>,
}

impl Notifier {
    /// Must be called in a tokio runtime.
    pub(super) fn start(exec: Exec, me: PeerId) -> Self {
        // One runs and one waits; whoever is told of these will look.
        let (messages, mut todo) = mpsc::channel::<MessageLine>(1);
        let (failed, failures) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut said = None;
            while let Some(message) = todo.recv().await {
                let failure = exec.run(&message, &me, false).await.err();
                let text = failure.as_ref().map(ToString::to_string);
                // What goes on failing is said once.
                if let Some(error) = failure.filter(|_| text != said) {
                    let _ = failed.try_send(error);
                }
                said = text;
            }
        });
        Self { messages, failures }
    }

    pub(super) fn tell(&self, message: MessageLine) {
        let _ = self.messages.try_send(message);
    }
}

/// Why the program was not run, or failed; for ever where there is none.
pub(super) async fn failed(notifier: &mut Option<Notifier>) -> Option<ExecError> {
    match notifier {
        Some(notifier) => notifier.failures.recv().await,
        None => std::future::pending().await,
    }
}
