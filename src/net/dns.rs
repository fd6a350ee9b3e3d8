//! Names of seeds into addresses, looked up again and again: a name may get another address, and a
//! network without DNS may get one. What is done with the addresses does not live here.

use std::{collections::BTreeSet, io, net::SocketAddr, time::Duration};

use tokio::{net::lookup_host, task::JoinSet, time::timeout};

/// How often a name is looked up again.
pub const LOOKUP_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// How often while one of the names has no address.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// A resolver that takes longer has failed.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);
/// Addresses taken of one name; what is beyond is left out.
pub const ADDRS_PER_NAME_MAX: usize = 8;

/// Names and what they stood for when they were looked up last.
#[derive(Debug)]
pub struct Names {
    names: Vec<Named>,
}

#[derive(Debug)]
struct Named {
    /// `HOST:PORT`.
    name: String,
    /// Of the last lookup that found any: a resolver that fails for a while takes nobody away.
    addrs: Vec<SocketAddr>,
    failing: bool,
}

impl Names {
    /// Of `HOST:PORT` each, not looked up yet.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().map(|name| Named { name, addrs: Vec::new(), failing: false }).collect() }
    }

    /// Every address, each once, in order.
    pub fn addrs(&self) -> BTreeSet<SocketAddr> {
        self.names.iter().flat_map(|named| &named.addrs).copied().collect()
    }

    /// When to look again.
    pub fn interval(&self) -> Duration {
        if self.names.iter().any(|named| named.failing) { RETRY_INTERVAL } else { LOOKUP_INTERVAL }
    }

    /// Looks all of them up at the same time. What fails is a warning, once, and not the end: it may have
    /// an address the next time. Must be called in a tokio runtime; can be dropped at any time.
    pub async fn look_up(&mut self) {
        let mut lookups = JoinSet::new();
        for (at, named) in self.names.iter().enumerate() {
            let name = named.name.clone();
            lookups.spawn(async move { (at, addrs_of(&name).await) });
        }
        while let Some(Ok((at, outcome))) = lookups.join_next().await {
            if let Some(named) = self.names.get_mut(at) {
                named.on_lookup(outcome);
            }
        }
    }
}

impl Named {
    fn on_lookup(&mut self, outcome: io::Result<Vec<SocketAddr>>) {
        let was_failing = self.failing;
        self.failing = outcome.is_err();
        match outcome {
            Ok(addrs) => {
                if was_failing {
                    tracing::warn!("{} has an address now", self.name);
                }
                self.addrs = addrs;
            }
            Err(error) if !was_failing => tracing::warn!("{} has no address: {error}; it is looked up again", self.name),
            Err(error) => tracing::debug!("{} has no address: {error}", self.name),
        }
    }
}

async fn addrs_of(name: &str) -> io::Result<Vec<SocketAddr>> {
    let found = timeout(LOOKUP_TIMEOUT, lookup_host(name)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let addrs: Vec<_> = found.take(ADDRS_PER_NAME_MAX).collect();
    if addrs.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(addrs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_its_own_name_and_a_name_without_one_is_asked_for_sooner() {
        let mut names = Names::new(["127.0.0.1:5", "[::1]:5", "127.0.0.1:5"].map(str::to_owned));
        assert_eq!(names.addrs().len(), 0);
        names.look_up().await;
        assert_eq!(names.addrs().into_iter().collect::<Vec<_>>(), ["127.0.0.1:5".parse().unwrap(), "[::1]:5".parse().unwrap()]);
        assert_eq!(names.interval(), LOOKUP_INTERVAL);
        // The form that no resolver takes: no test asks the network.
        let mut names = Names::new(["127.0.0.1:5".to_owned(), "no port".to_owned()]);
        names.look_up().await;
        assert_eq!((names.addrs().len(), names.interval()), (1, RETRY_INTERVAL));
    }

    #[test]
    fn what_a_name_stood_for_counts_until_it_stands_for_something_else() {
        let addrs = |text: &str| Ok(vec![text.parse().unwrap()]);
        let mut named = Named { name: "seed:5".to_owned(), addrs: Vec::new(), failing: false };
        named.on_lookup(addrs("192.0.2.1:5"));
        named.on_lookup(Err(io::ErrorKind::TimedOut.into()));
        assert!(named.failing && named.addrs == ["192.0.2.1:5".parse().unwrap()]);
        named.on_lookup(addrs("192.0.2.2:5"));
        assert!(!named.failing && named.addrs == ["192.0.2.2:5".parse().unwrap()]);
    }
}
