//! The commands of the shell, by topic: what `/help` and TAB know of them. What each means stands in `parse`.

/// A command, as `/help` and TAB know it.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Without the slash.
    pub name: &'static str,
    /// Other names of it.
    pub aliases: &'static [&'static str],
    /// What it takes, as `/help` shows it.
    pub takes: &'static str,
    /// What it does, in one line.
    pub does: &'static str,
    /// More of it, for `/help COMMAND`.
    pub more: &'static str,
    /// What its first word is.
    pub first: First,
    /// False where a slip of the finger would cost something: it is written out.
    pub by_prefix: bool,
}

/// What stands behind a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Nothing, or a text.
    Other,
    /// A peer.
    Peer,
    /// A command.
    Command,
    /// A message in the outbox.
    Message,
    /// A file.
    File,
}

macro_rules! entry {
    ($name:literal, $aliases:expr, $takes:literal, $first:ident, $does:literal, $more:literal) => {
        Entry { name: $name, aliases: &$aliases, takes: $takes, does: $does, more: $more, first: First::$first, by_prefix: true }
    };
}

/// What belongs together, for `/help`.
#[derive(Debug, PartialEq, Eq)]
pub struct Topic {
    /// As `/help NAME` knows it.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Its commands.
    pub commands: &'static [Entry],
}

/// All commands that are built, in the order of `/help`.
pub const TOPICS: &[Topic] = &[
    Topic {
        name: "talk",
        about: "writing",
        commands: &[
            entry!(
                "to",
                ["query"],
                "PEER",
                Peer,
                "what you write goes to PEER from now on",
                "Somebody who is away can be the target too: what is written is kept and goes out by itself."
            ),
            entry!(
                "msg",
                [],
                "PEER TEXT",
                Peer,
                "one message to PEER",
                "A name with a space stands in double quotes: /msg \"Ann Lee\" hi"
            ),
            entry!("reply", [], "TEXT", Other, "one message to whoever wrote last", ""),
            entry!("me", [], "TEXT", Other, "an action: /me waves", ""),
            entry!(
                "editor",
                [],
                "[TEXT]",
                Other,
                "a message to your target, in your own editor ($EDITOR)",
                "It begins with TEXT. Saved empty, or left with an error: nothing is sent."
            ),
            entry!("close", [], "", Other, "no target any more", ""),
        ],
    },
    Topic {
        name: "people",
        about: "who there is, and what you call them",
        commands: &[
            entry!("peers", ["names"], "", Other, "everybody known, and who is here", ""),
            entry!("whois", [], "PEER", Peer, "one peer in full", ""),
            entry!(
                "find",
                [],
                "WORDS",
                Peer,
                "whom they fit, here and at your seeds",
                "Here a part of a name will do; at seeds it is a name, or the beginning of a listed one."
            ),
            entry!(
                "add",
                [],
                "LINK [PETNAME]",
                Other,
                "somebody becomes a contact",
                "LINK is what `p2pchat-udp whoami --link` prints for them; a full id will do."
            ),
            entry!("ping", [], "PEER", Peer, "whether PEER answers, by which way, and how fast", ""),
            entry!(
                "doctor",
                [],
                "",
                Other,
                "why somebody is not seen, and what mends it",
                "It changes nothing, and takes some seconds."
            ),
            entry!("rename", [], "PEER [NAME]", Peer, "you call PEER so from now on", "Without NAME: as PEER calls itself."),
            entry!(
                "seeds",
                [],
                "",
                Other,
                "how your seeds are",
                "Seeds are set with --via HOST:PORT, or `p2pchat-udp config via`."
            ),
        ],
    },
    Topic {
        name: "trust",
        about: "whose key it is, and who may write to you",
        commands: &[
            entry!(
                "verify",
                [],
                "PEER [yes]",
                Peer,
                "twelve words, the same on both screens: whose key it is",
                "Compare them aloud, or face to face; then /verify PEER yes."
            ),
            Entry {
                name: "block",
                aliases: &["ignore"],
                takes: "PEER",
                does: "nothing of PEER comes here any more",
                more: "PEER is not told: to it you are as if switched off. What it writes waits there.",
                first: First::Peer,
                by_prefix: false,
            },
            entry!("unblock", [], "PEER", Peer, "takes a block back", ""),
            entry!("requests", [], "", Other, "strangers who ask to write", ""),
            entry!("accept", [], "PEER", Peer, "PEER asks to write, and may: a contact", "Its message comes once it is here."),
            entry!("refuse", [], "PEER", Peer, "PEER asks to write, and may not", "PEER is told. /add takes it back."),
            entry!(
                "receipts",
                [],
                "[PEER] [on|off|default]",
                Peer,
                "whether they learn what you have read",
                "Off at first. Read is what stood on your screen while its writer was your target."
            ),
            entry!(
                "allow",
                [],
                "[lan|requests|contacts]",
                Other,
                "who may write to you, beside contacts",
                "lan: who is on your LAN, others can ask; requests: everybody can ask; contacts: nobody can."
            ),
        ],
    },
    Topic {
        name: "kept",
        about: "what was said, and what still waits",
        commands: &[
            entry!("history", [], "[N]", Other, "the last N messages (20), with your target or with all", ""),
            entry!(
                "export",
                [],
                "FILE",
                File,
                "writes what was said, with target or all, to a new FILE",
                "`p2pchat-udp import FILE` reads it."
            ),
            entry!("unread", [], "", Other, "whose messages you have not read, and how many", ""),
            entry!("next", [], "", Other, "shows the next one's, who is your target then", ""),
            entry!(
                "search",
                [],
                "WORDS",
                Other,
                "messages with all of WORDS, with your target or with all",
                "hel* finds what begins so, \"see you\" a phrase. Case and accents make no difference."
            ),
            entry!("outbox", [], "", Other, "your messages that wait, and why", ""),
            Entry {
                name: "cancel",
                aliases: &[],
                takes: "ID",
                does: "withdraws a message that waits",
                more: "IDs are what /outbox shows; any unique beginning or ending of 4 or more will do.",
                first: First::Message,
                by_prefix: false,
            },
        ],
    },
    Topic {
        name: "window",
        about: "you, and this window",
        commands: &[
            entry!("nick", [], "NAME", Other, "changes what you call yourself", ""),
            entry!(
                "away",
                [],
                "[TEXT]",
                Other,
                "the others see that you are away, and TEXT; then /back",
                "By itself after 10 minutes without a key (`p2pchat-udp config away_after`)."
            ),
            entry!("back", [], "", Other, "you are at the keyboard again", ""),
            entry!("joins", [], "[on|off]", Other, "whether this window says who comes and goes", ""),
            entry!(
                "config",
                [],
                "[KEY [VALUE]]",
                Other,
                "your settings, or one; or sets it",
                "/config KEY \"\" takes it back. The manual has them all: man p2pchat-udp."
            ),
            Entry {
                name: "passwd",
                aliases: &[],
                takes: "",
                does: "sets, changes or removes the password of your profile",
                more: "What you type then is not shown. A forgotten password is final.",
                first: First::Other,
                by_prefix: false,
            },
            entry!("clear", [], "", Other, "clears the screen", ""),
            entry!(
                "help",
                [],
                "[TOPIC]",
                Command,
                "all commands; those of a TOPIC; more of one",
                "A TOPIC is the first word of a row of /help, or a command."
            ),
            entry!(
                "quit",
                ["exit", "q"],
                "",
                Other,
                "ends; what waits is kept and goes out next time",
                "Ctrl-D on an empty line does the same."
            ),
        ],
    },
];

/// The same without their topics.
pub fn commands() -> impl Iterator<Item = &'static Entry> {
    TOPICS.iter().flat_map(|topic| topic.commands)
}
