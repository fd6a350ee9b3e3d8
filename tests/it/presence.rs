//! Away and back, through the program: by command and by itself, and what the others see.

use crate::{
    pane::Pane,
    person::{Net, Person, Running},
};

/// Until `who` sees the peer so.
fn until(who: &Running, name: &str, presence: &str, away: &str) {
    who.until(|line| {
        line["event"] == "peer"
            && line["name"] == name
            && line["presence"] == presence
            && line["away"].as_str().unwrap_or_default() == away
    });
}

fn events(person: &Person) -> Running {
    let running = person.start(&["listen", "--events", "--json"]);
    running.until(|line| line["event"] == "ready");
    running
}

#[test]
fn who_says_that_he_is_away_is_seen_so_until_he_says_that_he_is_back() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let mut at_alice = Pane::shell(&alice, &[]);
    at_alice.until_last(">");
    let at_bob = Pane::shell(&bob, &[]);
    at_bob.until_row("Here: alice");
    let bob_sees = events(&bob);
    bob.run(["send", "alice", "hi"]).expect(0);
    at_alice.until_row("<bob> hi");
    at_alice.line("/away lunch");
    at_alice.until_row("you are away: lunch");
    until(&bob_sees, "alice", "away", "lunch");
    at_bob.until_row("alice is away from the keyboard: lunch");
    let whois = bob.run(["whois", "alice", "--json"]).expect(0).lines().remove(0);
    assert_eq!((&whois["presence"], &whois["away"]), (&"away".into(), &"lunch".into()));
    // It is delivered all the same.
    bob.run(["send", "alice", "enjoy"]).expect(0);
    at_alice.line("typing is not coming back");
    at_alice.line("/back");
    at_alice.until_row("you are back");
    until(&bob_sees, "alice", "online", "");
    at_bob.until_row("alice is back at the keyboard");
    at_alice.line(&format!("/away {}", "x".repeat(65)));
    at_alice.until_row("at most 64 bytes");
    at_alice.line("/quit");
    assert_eq!(at_alice.end(), 0);
}

#[test]
fn who_leaves_his_tmux_is_away_until_he_is_attached_again() {
    use std::os::unix::fs::PermissionsExt;
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    // tmux says it by the mode of its socket.
    let socket = alice.profile().with_extension("tmux,socket");
    std::fs::write(&socket, "").unwrap();
    let attach = |mode| std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(mode)).unwrap();
    attach(0o770);
    let _bob = bob.daemon();
    let bob_sees = events(&bob);
    let mut command = alice.command::<&str>([]);
    command.env("TMUX", format!("{},1,0", socket.display())).env_remove("STY");
    let mut shell = Pane::open(command);
    shell.until_row("Here: bob");
    until(&bob_sees, "alice", "online", "");
    attach(0o660);
    until(&bob_sees, "alice", "away", "");
    attach(0o770);
    until(&bob_sees, "alice", "online", "");
    shell.line("/quit");
    assert_eq!(shell.end(), 0);
}

#[test]
fn who_types_nothing_is_away_by_himself_and_back_with_the_next_key() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    assert!(alice.run(["config", "away_after", "soon"]).expect(2).err.contains("off"));
    // Longer than the pause between two announces of news: in a shorter time nobody would hear of the key.
    alice.run(["config", "away_after", "8s"]).expect(0);
    let _bob = bob.daemon();
    let bob_sees = events(&bob);
    let mut shell = Pane::shell(&alice, &[]);
    shell.until_last(">");
    until(&bob_sees, "alice", "away", "");
    shell.keys("h");
    until(&bob_sees, "alice", "online", "");
    shell.keys("\x03");
    shell.line("/quit");
    assert_eq!(shell.end(), 0);
}

#[test]
fn a_new_name_reaches_the_others_and_the_history_keeps_the_old_one() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let mut at_alice = Pane::shell(&alice, &[]);
    at_alice.until_last(">");
    let mut at_bob = Pane::shell(&bob, &[]);
    at_bob.until_row("Here: alice");
    let alice_sees = events(&alice);
    let short = bob.id()[..8].to_owned();
    bob.run(["send", "alice", "as bob"]).expect(0);
    at_alice.until_row("<bob> as bob");
    at_bob.line("/nick robert");
    at_bob.until_row("you are robert now");
    until(&alice_sees, "robert", "online", "");
    at_alice.until_row("bob is called robert now");
    at_bob.line("/msg alice as robert");
    at_alice.until_row("<robert> as robert");
    let names = |args: &[&str]| {
        let rows = alice.run(args).expect(0).events("history");
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["history", "--json"]), ["bob", "robert"]);
    assert_eq!(names(&["export"]), ["bob", "robert"]);
    at_alice.line("/history");
    at_alice.until_row(&format!("<bob·{short}> as bob"));
    // What I call somebody goes before what he ever called himself.
    alice.run(["contact", "add", &bob.id(), "--petname", "rob"]).expect(0);
    assert_eq!(names(&["history", "--json"]), ["rob", "rob"]);
    for pane in [&mut at_alice, &mut at_bob] {
        pane.line("/quit");
        assert_eq!(pane.end(), 0);
    }
}

#[test]
fn who_closed_an_idle_window_is_back_with_the_next_one() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    alice.run(["config", "away_after", "3s"]).expect(0);
    let (_alice, _bob) = (alice.daemon(), bob.daemon());
    let bob_sees = events(&bob);
    let idle = Pane::shell(&alice, &[]);
    idle.until_last(">");
    until(&bob_sees, "alice", "away", "");
    idle.signal(nix::sys::signal::Signal::SIGHUP);
    drop(idle);
    alice.run(["config", "away_after", "off"]).expect(0);
    let mut next = Pane::shell(&alice, &[]);
    next.until_last(">");
    until(&bob_sees, "alice", "online", "");
    next.line("/quit");
    assert_eq!(next.end(), 0);
}
