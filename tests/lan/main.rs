//! Real hosts, in network namespaces that the tests make themselves. Where the machine does not allow
//! that, every test says so and passes. Times are measured and printed, never asserted; whatever waits
//! has a limit of three times what it should take, so that nothing hangs.

mod across;
mod doctor;
mod faults;
mod lab;
mod meeting;
mod mtu;
mod person;
mod router;
mod seed;
mod sockets;
