//! How the shell runs and looks, by what surrounds it: terminal or not, colour, locale, the time; and hints as they are
//! followed here.

use std::{
    env,
    io::{IsTerminal, stdin, stdout},
    time::{SystemTime, UNIX_EPOCH},
};

use jiff::tz::TimeZone;

use super::{
    Options,
    chat::Mode,
    render::{Glyphs, Look},
};
use crate::{
    clock::{Instant, Now, Unix},
    control::{
        client::Client,
        proto::{Call, Line},
    },
};

pub(super) fn mode(options: &Options) -> Mode {
    let dumb = env::var_os("TERM").is_none_or(|term| ["", "dumb", "emacs", "cons25"].iter().any(|name| term == *name));
    if !stdin().is_terminal() {
        Mode::Script
    } else if options.plain || dumb || !stdout().is_terminal() {
        Mode::Plain
    } else {
        Mode::Edited
    }
}

pub(super) fn look(mode: Mode, options: &Options, columns: Option<usize>) -> Look {
    let plain = options.plain || mode == Mode::Plain;
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let set = |name: &&str| env::var(name).is_ok_and(|value| !value.is_empty());
    // The first that is set decides (POSIX, 8.2).
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(set).and_then(|name| env::var(name).ok());
    let utf8 = locale.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        name.contains("utf-8") || name.contains("utf8")
    });
    Look {
        color: mode == Mode::Edited && !no_color,
        glyphs: match (plain, utf8) {
            (true, _) => Glyphs::Words,
            (false, true) => Glyphs::Unicode,
            (false, false) => Glyphs::Ascii,
        },
        columns,
        zone: TimeZone::system(),
    }
}

/// Whether what is stored lies under a password. Who cannot say is taken at the safer word.
pub(super) async fn is_sealed(client: &Client) -> bool {
    let lines = client.call(Call::WHOAMI).all().await.unwrap_or_default();
    !lines.iter().any(|line| matches!(line, Line::Whoami(whoami) if !whoami.encrypted))
}

pub(super) fn columns() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(stdout())?;
    Some(usize::from(width.0))
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: std::time::Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    pub(super) fn now(self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            instant: Instant::from_start(self.start.elapsed()),
            unix: Unix(u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// What to do, for somebody who is in the shell already.
pub(super) fn in_the_shell(hint: &str) -> String {
    let as_command = [
        ("`p2pchat-udp peers`", "/peers"),
        ("`p2pchat-udp seed status`", "/seeds"),
        ("`p2pchat-udp doctor`", "/doctor"),
        ("`p2pchat-udp outbox`", "/outbox"),
        ("`outbox cancel ID`", "/cancel ID"),
    ];
    as_command.iter().fold(hint.to_owned(), |hint, (outside, inside)| hint.replace(outside, inside))
}
