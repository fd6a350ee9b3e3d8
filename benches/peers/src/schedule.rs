//! Runs everything, each run a process of its own, transports in turn so that whatever disturbs the machine disturbs
//! all of them, and keeps the figures.

use std::{
    collections::BTreeMap,
    env,
    io::Read as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    MEASURE,
    goals::{MEASURES, Measure},
    link,
    measure::Case,
    plan::{Peer, Workload},
};

/// A run that takes longer hangs.
const RUN_MAX: Duration = Duration::from_secs(75);
/// How often it is looked whether a run is over: seldom enough to disturb nothing.
const LOOK: Duration = Duration::from_millis(20);

/// The figures of one run, by name.
type Figures = BTreeMap<String, f64>;

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    runs: BTreeMap<(Workload, Peer), Vec<Figures>>,
    /// Runs that came to nothing.
    pub(crate) failed: usize,
    /// Workloads that cannot be run here, and why.
    pub(crate) skipped: Vec<(Workload, &'static str)>,
}

/// A figure over all repetitions, in the measure's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Results {
    /// A figure, where it was measured.
    pub(crate) fn spread(&self, measure: &Measure, peer: Peer) -> Option<Spread> {
        let runs = self.runs.get(&(measure.workload, peer))?;
        let mut values: Vec<_> = runs.iter().filter_map(|figures| Some(figures.get(measure.figure)? * measure.scale)).collect();
        values.sort_unstable_by(f64::total_cmp);
        Some(Spread { median: *values.get(values.len() / 2)?, min: *values.first()?, max: *values.last()? })
    }

    /// True where nothing failed, and nothing was left out.
    pub(crate) fn is_complete(&self) -> bool {
        self.failed == 0 && self.skipped.is_empty()
    }

    /// True where anything of this workload was measured.
    pub(crate) fn has(&self, workload: Workload) -> bool {
        self.runs.keys().any(|(measured, _)| *measured == workload)
    }

    /// True where anything of this transport was measured.
    pub(crate) fn has_peer(&self, peer: Peer) -> bool {
        self.runs.keys().any(|(_, measured)| *measured == peer)
    }
}

/// Runs the chosen workloads over the chosen transports.
pub(crate) fn run(workloads: &[Workload], peers: &[Peer], quick: bool) -> Results {
    let mut results = Results::default();
    for &workload in workloads {
        if let Some(missing) = workload.impairment().and_then(|_| link::missing()) {
            eprintln!("{workload:?} is skipped: {missing}");
            results.skipped.push((workload, missing));
            continue;
        }
        eprintln!("{workload:?}: {}", workload.title());
        for repetition in 0..workload.repetitions(quick) {
            let chosen = workload.peers().iter().filter(|peer| peers.contains(peer));
            let cases: Vec<_> = chosen.map(|&peer| Case { workload, peer, repetition, quick }).collect();
            for together in cases.chunk_by(|a, b| workload.is_patient(a.peer) && workload.is_patient(b.peer)) {
                for (case, outcome) in at_once(together) {
                    results.keep(case, outcome);
                }
            }
        }
    }
    results
}

impl Results {
    fn keep(&mut self, case: Case, outcome: Result<Figures>) {
        let Case { workload, peer, repetition, quick } = case;
        let number = format!("{}/{}", repetition + 1, workload.repetitions(quick));
        match outcome {
            Ok(figures) => {
                let measures = MEASURES.iter().filter(|measure| measure.workload == workload);
                let figure = |measure: &Measure| {
                    let value = figures.get(measure.figure)? * measure.scale;
                    Some(format!("{}: {value:.3} {}", measure.title, measure.unit))
                };
                let shown: Vec<_> = measures.filter_map(figure).collect();
                eprintln!("  {number} {:20} {}", peer.title(), shown.join(", "));
                self.runs.entry((workload, peer)).or_default().push(figures);
            }
            Err(error) => {
                eprintln!("  {number} {:20} failed: {error:#}", peer.title());
                self.failed += 1;
            }
        }
    }
}

fn at_once(cases: &[Case]) -> Vec<(Case, Result<Figures>)> {
    thread::scope(|scope| {
        let runs: Vec<_> = cases.iter().map(|&case| (case, scope.spawn(move || in_process(case)))).collect();
        let joined = runs.into_iter().map(|(case, run)| (case, run.join().expect("it returns its errors")));
        joined.collect()
    })
}

/// One run in a process of its own: its memory is its own, and where it hangs it is ended.
fn in_process(case: Case) -> Result<Figures> {
    let mut child = Command::new(env::current_exe()?)
        .arg(MEASURE)
        .arg(serialize(case))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("this program cannot be started again")?;
    let output = wait(&mut child)?;
    let figure = |line: &str| -> Option<(String, f64)> {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    let figures: Figures = output.lines().filter_map(figure).collect();
    ensure!(!figures.is_empty(), "it printed no figures");
    Ok(figures)
}

fn wait(child: &mut Child) -> Result<String> {
    let end = Instant::now() + RUN_MAX;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            bail!("not done within {} s", RUN_MAX.as_secs());
        }
        thread::sleep(LOOK);
    };
    let (mut out, mut error) = (String::new(), String::new());
    child.stdout.take().context("no output")?.read_to_string(&mut out)?;
    child.stderr.take().context("no output")?.read_to_string(&mut error)?;
    ensure!(status.success(), "{}", error.trim());
    Ok(out)
}

/// A case as an argument.
fn serialize(case: Case) -> String {
    let Case { workload, peer, repetition, quick } = case;
    let number = |place: Option<usize>| place.unwrap_or_default();
    let workload = number(Workload::ALL.iter().position(|known| *known == workload));
    let peer = number(Peer::ALL.iter().position(|known| *known == peer));
    format!("{workload},{peer},{repetition},{}", usize::from(quick))
}

/// A case from an argument.
pub(crate) fn deserialize(text: &str) -> Result<Case> {
    let numbers = text.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    let [workload, peer, repetition, quick] = numbers[..] else { bail!("not a case") };
    let workload = *Workload::ALL.get(workload).context("no such workload")?;
    let peer = *Peer::ALL.get(peer).context("no such transport")?;
    Ok(Case { workload, peer, repetition, quick: quick == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_the_same_on_both_sides() {
        for (workload, peer) in Workload::ALL.into_iter().flat_map(|workload| Peer::ALL.map(|peer| (workload, peer))) {
            let case = Case { workload, peer, repetition: 3, quick: true };
            assert_eq!(deserialize(&serialize(case)).expect("it was made so"), case);
        }
        assert!(deserialize("0,0,0").is_err());
        assert!(deserialize("8,0,0,0").is_err());
    }

    #[test]
    fn each_measure_is_of_somebody_who_takes_part() {
        for measure in MEASURES {
            let takes_part = |peer| measure.workload.peers().contains(&peer);
            assert!(takes_part(Peer::Ours));
            assert!(measure.goals.iter().filter_map(|goal| goal.against).all(takes_part), "{:?}", measure.workload);
        }
    }

    #[test]
    fn the_median_is_of_all_repetitions() {
        let measure = &MEASURES[0];
        let run = |value: f64| Figures::from([(measure.figure.to_owned(), value / measure.scale)]);
        let runs = BTreeMap::from([((measure.workload, Peer::Ours), vec![run(3.0), run(1.0), run(2.0)])]);
        let spread = Results { runs, ..Results::default() }.spread(measure, Peer::Ours).expect("it was measured");
        assert_eq!([spread.min, spread.median, spread.max].map(f64::round), [1.0, 2.0, 3.0]);
    }
}
