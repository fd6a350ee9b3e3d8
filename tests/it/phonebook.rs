//! Links, contacts, `find` and `seed` through the program, where no seed answers. With one: `across`.

use crate::person::{Ended, Net, Person, program, run};

/// Nobody listens there: the port is privileged, and no service of a test machine has it.
pub(crate) const DEAD: &str = "127.0.0.1:9";

pub(crate) fn link(person: &Person) -> String {
    person.run(["whoami", "--link"]).expect(0).out.trim_end().to_owned()
}

/// The QR code in these rows, read as a camera reads it.
fn read_qr(rows: &str) -> String {
    const SCALE: usize = 4;
    // What is drawn is light.
    let half = |row: &str, drawn: [char; 2]| row.chars().map(|c| drawn.contains(&c)).collect::<Vec<bool>>();
    let grid: Vec<Vec<bool>> = rows.lines().flat_map(|row| [half(row, ['█', '▀']), half(row, ['█', '▄'])]).collect();
    let width = grid[0].len();
    assert!(grid.iter().all(|row| row.len() == width), "{rows}");
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width * SCALE, grid.len() * SCALE, |x, y| {
        if grid[y / SCALE][x / SCALE] { 255 } else { 0 }
    });
    let codes = image.detect_grids();
    assert_eq!(codes.len(), 1, "{rows}");
    codes[0].decode().unwrap().1
}

#[test]
fn a_link_makes_somebody_a_contact_whom_a_petname_means() {
    let net = Net::new();
    let (alice, bob) = (net.person("Ann Lee"), net.person("bob"));
    let link = link(&alice);
    assert!(link.starts_with("p2pchat:") && link.ends_with("?name=Ann%20Lee"), "{link}");
    assert_eq!(bob.run(["contact", "list", "--json"]).expect(0).out, "");
    let added = bob.run(["contact", "add", &link, "--petname", "my ann", "--json"]).expect(0).events("contact");
    assert_eq!((&added[0]["id"], &added[0]["petname"]), (&alice.id().into(), &"my ann".into()));
    assert_eq!(bob.run(["contact", "add", &alice.id(), "--json"]).expect(0).events("contact"), added, "again is harmless");
    assert_eq!(bob.run(["contact", "list", "--json"]).expect(0).events("contact"), added);
    let human = bob.run(["contact", "list"]).expect(0).out;
    assert!(human.starts_with("my ann ("), "{human}");
    let _alice = alice.daemon();
    bob.run(["send", "my ann", "hello"]).expect(0);
    assert_eq!(alice.history(), ["in hello delivered"]);
    let myself = bob.run(["contact", "add", &bob.id()]).expect(2);
    assert!(myself.err.contains("that is you"), "{}", myself.err);
}

#[test]
fn a_bad_link_is_exit_2_with_its_place_and_makes_no_profile() {
    let net = Net::new();
    let alice = net.person("alice");
    let id = net.person("bob").id();
    for (link, place) in [
        ("bob".to_owned(), "at 1: not an id"),
        ("p2pchat:bob".to_owned(), "at 9: not an id"),
        (format!("p2pchat:{id}?name=%0a"), "at 67: not a name"),
        (format!("p2pchat:{id}?name=b&via=seed.example"), "at 73: a HOST:PORT is needed"),
    ] {
        let ended = alice.run(["contact", "add", &link]).expect(2);
        assert!(ended.err.starts_with(&format!("p2pchat-udp: bad link: {place}")), "{}", ended.err);
        assert!(ended.err.lines().nth(1).is_some_and(|hint| hint.contains("whoami --link")), "{}", ended.err);
    }
    assert!(!alice.profile().exists());
    let sent = alice.run(["send", "p2pchat:bob", "hi"]).expect(2);
    assert!(sent.err.contains("bad link: at 9"), "{}", sent.err);
}

#[test]
fn a_qr_code_is_the_link() {
    let alice = Net::new().person("Ann Lee");
    let code = alice.run(["whoami", "--qr"]).expect(0).out;
    assert!(!code.contains('\x1b'));
    assert_eq!(read_qr(&code), link(&alice));
    let columns = code.lines().next().unwrap().chars().count();
    assert!(columns <= 80, "{columns}");
    let json = alice.run(["whoami", "--qr", "--link", "--json"]).expect(0);
    assert_eq!(json.lines()[0]["link"], link(&alice));
}

#[test]
fn a_link_names_the_seeds() {
    let alice = Net::new().person("alice");
    let whoami = |options: &[&str]| {
        let args = options.iter().chain(&["whoami", "--json"]);
        alice.run(args).expect(0).lines().remove(0)
    };
    let me = whoami(&["--via", "seed.example:17118", "--via", "[2001:db8::1]:17118"]);
    assert_eq!(me["seeds"], serde_json::json!(["seed.example:17118", "[2001:db8::1]:17118"]));
    let link = me["link"].as_str().unwrap();
    assert!(link.ends_with("?name=alice&via=seed.example%3A17118&via=%5B2001%3Adb8%3A%3A1%5D%3A17118"), "{link}");
    let hidden = whoami(&["--via", "seed.example:17118", "--visibility", "hidden"]);
    assert!(hidden["link"].as_str().unwrap().ends_with("?name=alice"), "{hidden}");
}

#[test]
fn without_seeds_their_commands_say_what_to_do() {
    let alice = Net::new().person("alice");
    let commands: [&[&str]; 5] = [&["status"], &["list"], &["lookup", "bob"], &["register"], &["unregister"]];
    for args in commands {
        let ended = alice.run(["seed"].iter().chain(args)).expect(2);
        assert_eq!(ended.out, "");
        assert!(ended.err.starts_with("p2pchat-udp: no seeds: "), "{args:?}: {}", ended.err);
        assert!(ended.err.contains("--via HOST:PORT"), "{args:?}: {}", ended.err);
    }
}

#[test]
fn find_needs_a_part_of_a_name_and_says_when_nobody_has_it() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("Bob Smith"));
    let _bob = bob.daemon();
    let found = alice.run(["find", "smi", "--json"]).expect(0).events("peer");
    assert_eq!((found.len(), &found[0]["id"], &found[0]["path"]), (1, &bob.id().into(), &"lan".into()));
    let id = bob.id();
    for words in [&id[..8], &id, &link(&bob)] {
        assert_eq!(alice.run(["find", words, "--json"]).expect(0).events("peer").len(), 1, "{words}");
    }
    let nobody = alice.run(["find", "zoe"]).expect(3);
    assert_eq!(nobody.err.lines().next(), Some("p2pchat-udp: no such peer: zoe (asked the LAN, 1 there)"));
    assert!(nobody.err.lines().nth(1).is_some_and(|hint| hint.contains("elsewhere")), "{}", nobody.err);
    assert_eq!(alice.run(["find", "#room"]).expect(2).out, "");
}

#[test]
fn the_shell_finds_and_adds() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _bob = bob.daemon();
    let script = format!("/add {} my bob\n/find my b\n/seeds\n/msg \"my bob\" hi\n", link(&bob));
    let ended: Ended = alice.run_with(script.as_bytes(), &[]).expect(2);
    assert!(ended.out.contains("my bob is a contact now"), "{}", ended.out);
    assert!(ended.out.lines().any(|line| line.starts_with("my bob  ")), "{}", ended.out);
    assert!(ended.err.contains("line 3: no seeds: "), "{}", ended.err);
    assert_eq!(bob.history(), ["in hi delivered"]);
}

#[test]
fn settings_of_the_phonebook_are_checked_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    for (text, line, word) in [
        ("via = [\"seed.example:17118\"]\n\nvisibility = \"seen\"\n", 3, "listed, findable or hidden"),
        ("bell = true\nvia = [\"seed.example\"]\n", 2, "the port is missing"),
        ("via = [\"2001:db8::1:17118\"]\n", 1, "brackets"),
    ] {
        std::fs::write(dir.path().join("config.toml"), text).unwrap();
        let mut command = program();
        command.arg("--data-dir").arg(dir.path()).args(["seed", "status"]);
        let ended = run(command).expect(2);
        assert!(ended.err.contains(&format!("line {line}: ")) && ended.err.contains(word), "{}", ended.err);
    }
    let mut command = program();
    command.env("P2PCHAT_VIA", "a.example:1,b.example").arg("--data-dir").arg(dir.path().join("p")).arg("whoami");
    let ended = run(command).expect(2);
    assert!(ended.err.contains("P2PCHAT_VIA") && ended.err.contains("b.example"), "{}", ended.err);
}

#[test]
fn seeds_count_from_the_start_of_an_owner_on() {
    let net = Net::new();
    let alice = net.person("alice");
    let _alice = alice.start(&["daemon", "--json", "--via", DEAD]);
    _alice.until(|line| line["event"] == "ready");
    let me = alice.run(["whoami", "--json", "--via", "127.0.0.1:10"]).expect(0);
    assert!(me.err.contains("--via has no effect"), "{}", me.err);
    assert_eq!(me.lines()[0]["seeds"], serde_json::json!([DEAD]));
    let set = alice.run(["config", "via", "127.0.0.1:10"]).expect(0);
    assert!(set.out.is_empty() && set.err.contains("via counts from the owner's next start; `p2pchat-udp stop`"), "{}", set.err);
    assert_eq!(alice.run(["config", "bell", "off"]).expect(0).err, "", "no affair of the owner's");
    alice.run(["stop"]).expect(0);
    assert_eq!(alice.run(["config", "via", "127.0.0.1:10"]).expect(0).err, "", "nobody runs");
}

#[test]
fn a_seed_that_does_not_answer_is_exit_9_and_in_nobodys_way() {
    let net = Net::new();
    let (alice, bob) = (net.person("alice"), net.person("bob"));
    let _alice = alice.start(&["daemon", "--json", "--via", DEAD]);
    _alice.until(|line| line["event"] == "ready");
    let _bob = bob.daemon();
    for args in [&["seed", "status"][..], &["seed", "status", DEAD], &["seed", "register"]] {
        let ended = alice.run(args.iter().chain(&["--json", "--timeout", "300ms"])).expect(9);
        let seeds = ended.events("seed");
        assert_eq!((seeds.len(), &seeds[0]["addr"], &seeds[0]["state"]), (1, &DEAD.into(), &"unreachable".into()), "{args:?}");
        assert!(seeds[0]["version"].is_null() && seeds[0]["registered"] == false, "{}", seeds[0]);
        assert!(ended.err.contains(&format!("{DEAD} is unreachable")), "{}", ended.err);
        assert!(ended.err.lines().nth(1).is_some_and(|hint| hint.contains("is UDP let out")), "{}", ended.err);
    }
    for args in [&["seed", "lookup", "bob"][..], &["seed", "list"]] {
        let ended = alice.run(args.iter().chain(&["--timeout", "300ms"])).expect(9);
        assert!(ended.err.contains("0 of 1 seeds answered"), "{}", ended.err);
        assert!(ended.err.lines().nth(1).is_some_and(|hint| hint.contains("seed status")), "{}", ended.err);
    }
    alice.run(["send", "bob", "hi"]).expect(0);
    assert_eq!(bob.history(), ["in hi delivered"]);
    assert_eq!(alice.run(["find", "bob", "--json", "--timeout", "300ms"]).expect(0).events("peer")[0]["path"], "lan");
    let nobody = alice.run(["find", "zoe", "--timeout", "300ms"]).expect(9);
    assert!(nobody.err.contains("0 of 1 seeds answered"), "{}", nobody.err);
    assert!(nobody.err.lines().nth(1).is_some_and(|hint| hint.contains("seed status")), "{}", nobody.err);
}

#[test]
fn a_seed_whose_name_does_not_resolve_says_why() {
    let alice = Net::new().person("alice");
    let ended = alice.run(["seed", "status", "nobody.invalid:17118", "--json"]).expect(9);
    let seed = ended.events("seed").remove(0);
    assert_eq!((&seed["addr"], &seed["state"]), (&"nobody.invalid:17118".into(), &"unreachable".into()));
    assert!(seed["reason"].as_str().is_some_and(|why| !why.is_empty()), "{seed}");
    assert!(ended.events("error")[0]["hint"].as_str().is_some_and(|hint| hint.contains("DNS")), "it runs, for all we know");
}
