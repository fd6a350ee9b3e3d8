//! What README.md has two people on two networks type, typed word by word behind real NATs; and what somebody is
//! told who leaves half of it out.

use std::{collections::BTreeMap, path::Path};

use serde_json::json;

use super::{FAR, SEEDS, World, register};
use crate::{
    person::{Person, message},
    router::Nat,
};

/// A line that somebody types: who, and the words behind the program's name.
type Typed = (String, Vec<String>);

/// What is typed in the README's transcript of two networks, with a seed of this lab for the one of the README.
fn recipe() -> Vec<Typed> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, block) = readme.split_once("<!-- transcript: two-networks -->").expect("it is there");
    let (block, _) = block.split_once("<!-- /transcript -->").expect("it ends");
    let typed = block.lines().filter_map(|line| line.split_once("$ p2pchat-udp "));
    let words = |line: &str| line.split(' ').map(|word| word.trim_matches('"').replace("seed.example:17118", SEEDS[0])).collect();
    typed.map(|(who, line)| (who.to_owned(), words(line))).collect()
}

/// The links in these words, which the README shortens, as their people have printed them.
fn with_links(words: &[String], links: &BTreeMap<String, String>) -> Vec<String> {
    let whole = |word: &String| {
        let shortened =
            word.starts_with("p2pchat:").then(|| links.iter().find(|(who, _)| word.contains(&format!("?name={who}&"))));
        shortened.map_or_else(|| word.clone(), |of| of.expect("printed before").1.clone())
    };
    words.iter().map(whole).collect()
}

/// Types it, and gives what it printed.
fn type_in(person: &Person, words: &[String]) -> String {
    let output = person.typed(words).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {words:?}: {}: {err}", person.name, output.status);
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn the_readme_of_two_networks_leads_from_one_to_the_other() {
    let Some(world) = World::new([Nat::Cone; 2]) else { return };
    let mut people = [world.person(0, 0, "alice", &[]), world.person(1, 0, "bob", &[])];
    // From what stands above it there.
    people.iter_mut().for_each(|person| drop(person.start()));
    let mut links = BTreeMap::new();
    let mut last = String::new();
    for (who, words) in recipe() {
        let person = people.iter_mut().find(|person| person.name == who).expect("one of the two");
        let mut words = with_links(&words, &links);
        if words.last().is_some_and(|word| word == "&") {
            words.pop();
            person.launch_as(person.typed(&words));
            person.connect();
            continue;
        }
        last = type_in(person, &words);
        match words[0].as_str() {
            "stop" => person.ends(),
            "whoami" => drop(links.insert(who, last.clone())),
            _ => {}
        }
    }
    assert_eq!(last, "delivered bob");
    assert_eq!(people[1].connect().texts("in"), ["lunch?"]);
}

/// Behind routers a stranger was never answered: who wrote heard nothing of why, and waited for good.
#[test]
fn whom_only_one_has_added_is_asked_and_the_one_is_told_so() {
    let Some(world) = World::new([Nat::Cone; 2]) else { return };
    let (mut alice, mut bob) = (world.person(0, 0, "alice", &SEEDS[..1]), world.person(1, 0, "bob", &SEEDS[..1]));
    let (mut at_bob, mut at_alice) = (bob.start(), alice.start());
    register(&mut at_bob);
    at_bob.subscribe();
    let link = at_bob.call(json!({"call": "whoami"}))[0]["link"].as_str().unwrap().to_owned();
    at_alice.add(&link);
    let sent = alice.plain_command(&["send", "bob", "lunch?"]).output().unwrap();
    let said = String::from_utf8(sent.stderr).unwrap();
    assert_eq!(sent.status.code(), Some(5), "{said}");
    let [what, hint] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert!(what.starts_with("p2pchat-udp: still sent for bob: awaiting-acceptance; the daemon"), "{said}");
    assert!(hint.contains("bob is asked whether you may write") && hint.contains("p2pchat-udp requests"), "{said}");
    assert_eq!(at_bob.texts("in").len(), 0);
    let asked = at_bob.call(json!({"call": "requests"}));
    assert_eq!((&asked[0]["peer"], &asked[0]["text"]), (&at_alice.id().into(), &"lunch?".into()));
    at_bob.call(json!({"call": "requests", "action": "accept", "peer": at_alice.id()}));
    at_bob.expect("what had waited", FAR, message("lunch?"));
}
