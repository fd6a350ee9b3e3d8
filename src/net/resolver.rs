//! Names of seeds to addresses, by the system, beside the loop. When a name is wanted, and how often it is
//! asked for again, is not decided here.

use std::net::SocketAddr;

use tokio::task::JoinSet;

/// Names that are looked up at the same time at most; more are refused at once.
const LOOKUPS_MAX: usize = 64;

/// A name and where it is, or in words why nobody knows.
pub type Resolved = (String, Result<Vec<SocketAddr>, String>);

/// Look-ups under way.
#[derive(Debug, Default)]
pub struct Resolver(JoinSet<Resolved>);

impl Resolver {
    /// Looks `HOST:PORT` up; [`Self::resolved`] tells how it ended.
    pub fn start(&mut self, name: String) {
        if self.0.len() >= LOOKUPS_MAX {
            self.0.spawn(async { (name, Err("too many names are being looked up".to_owned())) });
            return;
        }
        self.0.spawn(async {
            let outcome = tokio::net::lookup_host(&name).await;
            let outcome = outcome.map(Iterator::collect).map_err(|error| error.to_string());
            (name, outcome)
        });
    }

    /// The next look-up that has ended; never, where none is under way.
    pub async fn resolved(&mut self) -> Resolved {
        loop {
            match self.0.join_next().await {
                Some(Ok(resolved)) => return resolved,
                // Only an end of the runtime takes one away.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }
}
