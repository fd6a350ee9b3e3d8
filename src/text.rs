//! The only type that a screen, a log line or an error may carry of what a peer wrote.
