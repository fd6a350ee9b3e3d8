//! The chart: for each measure a few bars, ours first. Plain SVG, on a light page and on a dark one.

use std::fmt::Write as _;

use crate::{
    goals::{MEASURES, Measure},
    plan::Peer,
    report::short,
    schedule::Results,
};

/// A bar is cut where it would be longer than this many of ours: the others are to be told from each other.
const LONGEST: f64 = 25.0;
/// Pixels.
const WIDTH: usize = 960;
const COLUMNS: usize = 2;
const GAP: usize = 24;
const NAME_WIDTH: usize = 130;
const VALUE_WIDTH: usize = 64;
const BAR: usize = 14;
const STEP: usize = 19;
const HEAD: usize = 44;
const CUT: f64 = 8.0;

/// Where the viewer does not say whether the page is light or dark, greys that are seen on both.
const STYLE: &str = "text{font:12px sans-serif;fill:#768390}\
    .head{font-weight:bold}\
    .ours{fill:#2da44e}.theirs{fill:#8c959f}\
    @media(prefers-color-scheme:light){text{fill:#24292f}.note{fill:#57606a}.ours{fill:#1a7f37}}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.ours{fill:#3fb950}.theirs{fill:#656c76}}";

/// All that was measured.
pub(crate) fn draw(results: &Results) -> String {
    let measures: Vec<_> = MEASURES.iter().filter(|measure| results.has(measure.workload)).collect();
    let width = (WIDTH - (COLUMNS - 1) * GAP) / COLUMNS;
    let (mut body, mut top) = (String::new(), GAP / 2);
    for row in measures.chunks(COLUMNS) {
        let mut tallest = 0;
        for (column, measure) in row.iter().enumerate() {
            let bars = bars(measure, results);
            tallest = tallest.max(HEAD + bars.len() * STEP + GAP);
            let left = column * (width + GAP);
            let _ = write!(body, "<g transform=\"translate({left} {top})\">{}</g>", group(measure, &bars, width));
        }
        top += tallest;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{top}\" viewBox=\"0 0 {WIDTH} {top}\" role=\"img\">\
         <title>Our sessions beside other transports</title><style>{STYLE}</style>{body}</svg>\n"
    )
}

/// Who, and how much; in the order of the columns.
fn bars(measure: &Measure, results: &Results) -> Vec<(Peer, f64)> {
    Peer::ALL.into_iter().filter_map(|peer| Some((peer, results.spread(measure, peer)?.median))).collect()
}

fn group(measure: &Measure, bars: &[(Peer, f64)], width: usize) -> String {
    let better = if measure.unit == "MB/s" { "more" } else { "less" };
    let ours = bars.iter().find(|(peer, _)| *peer == Peer::Ours).map_or(f64::INFINITY, |(_, value)| *value);
    let most = bars.iter().map(|(_, value)| value.min(ours * LONGEST)).fold(f64::MIN_POSITIVE, f64::max);
    let room = width - NAME_WIDTH - VALUE_WIDTH;
    let mut text = format!(
        "<text class=\"head\" y=\"12\">{:?} {}</text><text class=\"note\" y=\"30\">{}, {}; {better} is better</text>",
        measure.workload,
        measure.workload.title(),
        measure.title,
        measure.unit,
    );
    for (number, (peer, value)) in bars.iter().enumerate() {
        let (top, class) = (HEAD + number * STEP, if *peer == Peer::Ours { "ours" } else { "theirs" });
        let len = (room as f64 * value.min(most) / most).max(1.0);
        // Where it is cut, a gap says so.
        let len_shown = if *value > most { len - CUT } else { len };
        let baseline = top + BAR - 3;
        let _ = write!(
            text,
            "<text y=\"{baseline}\">{}</text>\
             <rect class=\"{class}\" x=\"{NAME_WIDTH}\" y=\"{top}\" width=\"{len_shown:.1}\" height=\"{BAR}\"/>\
             <text x=\"{:.1}\" y=\"{baseline}\">{}</text>",
            peer.title(),
            NAME_WIDTH as f64 + len + 5.0,
            short(*value),
        );
        if *value > most {
            let rest = NAME_WIDTH as f64 + len - CUT / 2.0;
            let _ =
                write!(text, "<rect class=\"{class}\" x=\"{rest:.1}\" y=\"{top}\" width=\"{}\" height=\"{BAR}\"/>", CUT / 2.0);
        }
    }
    text
}
