//! What the figures were taken on.

use std::{fs, thread};

/// Of a machine, what figures depend on most.
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// TCP's congestion control here.
    pub(crate) tcp: &'static str,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let information = read("/proc/cpuinfo");
        let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let kernel = read("/proc/sys/kernel/osrelease");
        let system = read("/proc/sys/kernel/ostype");
        let has_bbr = read("/proc/sys/net/ipv4/tcp_available_congestion_control").split_whitespace().any(|name| name == "bbr");
        Self {
            processor: model.map_or("unknown processor", |(_, name)| name.trim()).to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("{} {}", system.trim(), kernel.trim()),
            tcp: if has_bbr { "BBR" } else { "the kernel's default" },
        }
    }
}
