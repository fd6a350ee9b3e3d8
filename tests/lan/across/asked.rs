//! What seeds say of people on another network: of each as much as it wants to be known, of two with one name
//! both, and of nobody that there is nobody before all that were asked have said so.

use serde_json::{Value, json};

use super::{FAR, SEEDS, World, befriend, register, served::Served};
use crate::{
    lab::Lab,
    person::{Client, Person},
    router::Nat,
};

/// A world with seeds that have run for long enough to know who is not there. Neither knows the other.
fn old_world() -> Option<(World, [Served; 2])> {
    let world = World::without_seeds(Lab::new()?, [Nat::Cone; 2])?;
    let seeds = [0, 1].map(|at| Served::old(world.publics[at].socket(SEEDS[at])));
    Some((world, seeds))
}

/// A command, its exit code, the names of the peers that it printed, and what it said besides.
fn ask(person: &Person, args: &[&str]) -> (Option<i32>, Vec<String>, String) {
    let output = person.run(args);
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let peers = lines.filter(|line| line["event"] == "peer");
    let names = peers.map(|peer| peer["name"].as_str().unwrap().to_owned()).collect();
    (output.status.code(), names, String::from_utf8(output.stderr).unwrap())
}

/// Exit code and names alone.
fn names(person: &Person, args: &[&str]) -> (Option<i32>, Vec<String>) {
    let (code, names, _) = ask(person, args);
    (code, names)
}

fn only(name: &str) -> (Option<i32>, Vec<String>) {
    (Some(0), vec![name.to_owned()])
}

/// Somebody on the first network who runs, and is in the phonebook of this seed unless hidden.
fn shown(world: &World, at: usize, name: &'static str, seed: usize, visibility: &'static str) -> (Person, Client) {
    let mut person = world.person(0, at, name, &SEEDS[seed..=seed]);
    person.options.extend(["--visibility", visibility]);
    let mut client = person.start();
    if visibility != "hidden" {
        register(&mut client);
    }
    (person, client)
}

#[test]
fn of_people_elsewhere_seeds_say_as_much_as_each_allows() {
    let Some((world, seeds)) = old_world() else { return };
    let _alice = shown(&world, 0, "alice", 0, "listed");
    let (_bob, at_bob) = shown(&world, 0, "bob", 1, "findable");
    let (_carol, at_carol) = shown(&world, 1, "carol", 0, "hidden");
    let mut dave = world.person(1, 0, "dave", &SEEDS);
    let mut at_dave = dave.start();
    assert!(at_dave.call(json!({"call": "peers"})).iter().all(|line| line["event"] != "peer"), "nobody is near");
    let nobody = (Some(3), Vec::new());
    for (args, expected) in [
        (&["seed", "list"][..], only("alice")),
        (&["seed", "lookup", "alice"], only("alice")),
        (&["seed", "lookup", "BOB"], only("bob")),
        (&["seed", "lookup", "bo"], nobody.clone()),
        (&["seed", "lookup", "carol"], nobody.clone()),
        (&["seed", "lookup", &at_bob.id()], only("bob")),
        (&["seed", "lookup", &at_carol.id()], nobody.clone()),
        (&["find", "ali"], only("alice")),
        (&["find", "bob"], only("bob")),
        (&["find", "bo"], nobody.clone()),
        (&["find", "carol"], nobody.clone()),
        (&["whois", "alice"], only("alice")),
        (&["whois", "bob"], only("bob")),
        (&["whois", "ali"], nobody.clone()),
        (&["whois", "carol"], nobody),
    ] {
        assert_eq!(names(&dave, args), expected, "{args:?}");
    }
    // Of one seed alone only what that one knows.
    let [first, second] = seeds.each_ref().map(|seed| seed.addr.to_string());
    assert_eq!(names(&dave, &["seed", "lookup", "bob", &first]), (Some(3), Vec::new()));
    assert_eq!(names(&dave, &["seed", "lookup", "bob", &second]), only("bob"));
    assert_eq!(names(&dave, &["seed", "list", &second]), (Some(0), Vec::new()));
    let (_, _, said) = ask(&dave, &["whois", "carol"]);
    assert!(said.contains("no such peer: carol (asked the LAN, 0 there; 2 of 2 seeds)"), "{said}");
    let (_, _, said) = ask(&dave, &["seed", "lookup", "carol"]);
    assert!(said.contains("no such peer: carol (2 of 2 seeds)"), "{said}");

    let [first, second] = seeds;
    drop(second);
    for (args, expected) in [
        (&["whois", "zoe"][..], "not found: zoe (LAN; 1 of 2 seeds answered)"),
        (&["find", "zoe"], "not found: zoe (LAN; 1 of 2 seeds answered)"),
        (&["send", "zoe", "hi"], "not found: zoe (LAN; 1 of 2 seeds answered)"),
        (&["seed", "lookup", "zoe"], "not found: zoe (1 of 2 seeds answered)"),
    ] {
        let (code, found, said) = ask(&dave, args);
        assert_eq!((code, found.len()), (Some(9), 0), "{args:?}: {said}");
        assert!(said.contains(expected), "{args:?}: {said}");
    }
    assert_eq!(names(&dave, &["seed", "lookup", "alice"]), only("alice"), "who is found is found");
    assert_eq!(names(&dave, &["seed", "list"]), only("alice"));
    drop(first);
    let (code, _, said) = ask(&dave, &["seed", "lookup", "alice"]);
    assert_eq!(code, Some(9), "{said}");
    assert!(said.contains("not found: alice (0 of 2 seeds answered)"), "{said}");
}

#[test]
fn of_two_elsewhere_with_one_name_both_are_shown_and_none_is_chosen() {
    let Some((world, _seeds)) = old_world() else { return };
    let (_one, mut at_one) = shown(&world, 0, "zoe", 0, "listed");
    let (_two, mut at_two) = shown(&world, 1, "Zoe", 1, "findable");
    let mut dave = world.person(1, 0, "dave", &SEEDS);
    let mut at_dave = dave.start();
    let ids = [at_one.id(), at_two.id()];
    for (args, expected) in
        [(&["whois", "zoe"][..], 4), (&["send", "zoe", "hi"], 4), (&["find", "zoe"], 0), (&["seed", "lookup", "zoe"], 0)]
    {
        let output = dave.run(args);
        assert_eq!(output.status.code(), Some(expected), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut shown: Vec<_> =
            lines.iter().filter(|line| line["event"] == "peer").map(|line| line["id"].as_str().unwrap()).collect();
        shown.sort_unstable();
        let mut both = ids.each_ref().map(String::as_str);
        both.sort_unstable();
        assert_eq!(shown, both, "{args:?}");
    }
    let human = dave.plain_command(&["whois", "zoe"]).output().unwrap();
    let said = String::from_utf8_lossy(&human.stderr) + String::from_utf8_lossy(&human.stdout);
    assert!(ids.iter().all(|id| said.contains(id.as_str())), "{said}");
    assert_eq!(dave.run(&["outbox"]).stdout, b"", "nothing is queued");

    befriend(&mut at_dave, &mut at_two);
    let took = at_dave.deliver(&ids[1], "you, not the other", FAR);
    println!("to one of two with one name, by its id: {took:?}");
    assert_eq!((at_one.texts("in").len(), at_two.texts("in")), (0, vec!["you, not the other".to_owned()]));
}
