//! The table: a row for each measure and one for each further goal, a column for each transport; as it is printed, and
//! as a page.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::{
    goals::{Bound, Goal, MEASURES, Measure},
    machine::Machine,
    plan::Peer,
    schedule::{Results, Spread},
};

/// Stands where nothing was measured.
const NOTHING: &str = "–";

/// The table, in Markdown, its columns aligned for who reads it as text.
pub(crate) fn table(results: &Results) -> String {
    let peers: Vec<_> = Peer::ALL.into_iter().filter(|peer| results.has_peer(*peer)).collect();
    let mut rows = vec![header(&peers)];
    for measure in MEASURES.iter().filter(|measure| results.has(measure.workload)) {
        let what = format!("{:?} {}", measure.workload, measure.workload.title());
        let mut front = vec![what, format!("{}, {}", measure.title, measure.unit)];
        front.extend(peers.iter().map(|peer| results.spread(measure, *peer).map_or_else(|| NOTHING.to_owned(), spread)));
        for goal in measure.goals {
            let columns = front.len();
            let row = std::mem::replace(&mut front, vec![String::new(); columns]);
            rows.push(row.into_iter().chain(judged(goal, measure, results)).collect());
        }
    }
    let widths: Vec<_> = (0..rows[0].len()).map(|column| rows.iter().map(|row| len(&row[column])).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell}{} ", " ".repeat(width - len(cell)));
        }
        text.push_str("|\n");
        if number == 0 {
            widths.iter().for_each(|width| _ = write!(text, "|{}", "-".repeat(width + 2)));
            text.push_str("|\n");
        }
    }
    text
}

fn header(peers: &[Peer]) -> Vec<String> {
    let names = peers.iter().map(|peer| peer.title());
    ["workload", "measure"].into_iter().chain(names).chain(["compared", "must", "stretch"]).map(str::to_owned).collect()
}

/// What is compared, and whether it is good enough.
fn judged(goal: &Goal, measure: &Measure, results: &Results) -> [String; 3] {
    let value = goal.value(measure, results);
    let compared = match (value, goal.against) {
        (None, _) => NOTHING.to_owned(),
        (Some(value), None) => format!("{} {}", short(value), measure.unit),
        (Some(value), Some(peer)) => format!("{} × {}", short(value), peer.title()),
    };
    [compared, verdict(goal.must, value), verdict(goal.stretch, value)]
}

fn verdict(bound: Option<Bound>, value: Option<f64>) -> String {
    let Some(bound) = bound else { return String::new() };
    let asked = match bound {
        Bound::AtMost(bound) => format!("≤ {bound}"),
        Bound::AtLeast(bound) => format!("≥ {bound}"),
    };
    match value {
        None => asked,
        Some(value) if bound.is_met(value) => format!("{asked} met"),
        Some(_) => format!("{asked} MISSED"),
    }
}

/// The median, and from where to where the repetitions lie.
fn spread(spread: Spread) -> String {
    if spread.min == spread.max {
        return short(spread.median);
    }
    format!("{} ({}–{})", short(spread.median), short(spread.min), short(spread.max))
}

/// Three digits that count.
pub(crate) fn short(value: f64) -> String {
    match value {
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn len(cell: &str) -> usize {
    cell.chars().count()
}

/// Whose goals are all met, and whose are not: must, then stretch, met and asked.
pub(crate) fn sums(results: &Results) -> [(usize, usize); 2] {
    let mut sums = [(0, 0); 2];
    for measure in MEASURES {
        for goal in measure.goals {
            let Some(value) = goal.value(measure, results) else { continue };
            for (sum, bound) in sums.iter_mut().zip([goal.must, goal.stretch]) {
                sum.0 += usize::from(bound.is_some_and(|bound| bound.is_met(value)));
                sum.1 += usize::from(bound.is_some());
            }
        }
    }
    sums
}

/// The page.
pub(crate) fn page(results: &Results, machine: &Machine, command: &str) -> String {
    let Machine { processor, cores, kernel, tcp } = machine;
    let date = Timestamp::now().strftime("%Y-%m-%d");
    let [must, stretch] = sums(results);
    let mut page = format!(
        "# Our sessions beside other transports\n\n\
         Made by `{command}`, on {date}, on {cores} cores ({processor}, {kernel}). A machine that others use too may be slower by \
         half from one minute to the next: what counts are the ratios, taken in one run, with the transports in turn.\n\n\
         ![The same figures as bars](performance.svg)\n\n\
         {}\n\
         Of the goals, {} of {} are met that must be, and {} of {} that would be fine.\n\n",
        table(results),
        must.0,
        must.1,
        stretch.0,
        stretch.1,
    );
    for (workload, missing) in &results.skipped {
        let _ = writeln!(page, "{workload:?} was not run: {missing}.\n");
    }
    let _ = write!(page, "{}", notes(tcp));
    page
}

fn notes(tcp: &str) -> String {
    format!(
        "## What is compared\n\n\
         Two threads of one process, a client and a server. A figure is the median of the repetitions, with the least and the most \
         behind it. Every run is a process of its own.\n\n\
         - **ours**: the program's sessions on the program's sockets, with its handshake, in turns like those of its loop; the \
         post-quantum rekey included. Without the disk: what a message costs until it is safe there is another matter.\n\
         - **raw UDP**: a datagram for each message. It loses what the receiver has no room for (P2), seals nothing and repeats nothing: \
         a floor, not a choice.\n\
         - **quinn**: QUIC with TLS 1.3. A stream for each message, as messages that must not wait for each other want it; or one stream, \
         with CUBIC, quinn's default, or with BBR.\n\
         - **KCP** (tokio_kcp, its fastest mode) and **ENet** (rusty_enet) seal nothing.\n\
         - **TCP**: the kernel's, without Nagle's delay, with {tcp}. It seals nothing.\n\n\
         P1 to P3 and P8 go over the loopback interface, P4 to P7 through two network namespaces and a link that delays every packet \
         and loses some, each by itself, the same in both directions. P1 has both threads on one core. CPU is that of both threads. P7 \
         lasts ten seconds at most; who needs longer is judged by what has arrived until then. In P8, memory is what the process grew by, \
         for one side of one connection; ENet has its table of peers from the start, and KCP and TCP keep a part in the kernel that does \
         not show. Where the chart cuts a bar, it is more than 25 times as long as ours.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_kept_or_not_and_the_verdict_says_so() {
        assert_eq!(verdict(Some(Bound::AtMost(0.85)), Some(0.85)), "≤ 0.85 met");
        assert_eq!(verdict(Some(Bound::AtMost(0.85)), Some(0.86)), "≤ 0.85 MISSED");
        assert_eq!(verdict(Some(Bound::AtLeast(30.0)), Some(29.0)), "≥ 30 MISSED");
        assert_eq!(verdict(Some(Bound::AtLeast(30.0)), None), "≥ 30");
        assert_eq!(verdict(None, Some(1.0)), "");
    }

    #[test]
    fn figures_have_three_digits_and_show_how_far_they_spread() {
        assert_eq!(spread(Spread { median: 12.345, min: 9.999, max: 1_234.5 }), "12.3 (10.00–1234)");
        assert_eq!(spread(Spread { median: 0.5, min: 0.5, max: 0.5 }), "0.50");
    }

    #[test]
    fn of_nothing_there_is_a_table_without_rows() {
        assert_eq!(table(&Results::default()).lines().count(), 2);
        assert_eq!(sums(&Results::default()), [(0, 0); 2]);
    }
}
