//! The curves of a run: what its `metrics.jsonl` holds, thinned to what a screen can show, and the samples that the app
//! has heard.

use std::fs::File;
use std::io::{BufRead, BufReader};

use nc_core::checkpoint::home::Home;
use serde::Deserialize;

use crate::types::{PhaseHistory, SamplePoint, StepPoint, TrainHistory, TrainPhase, ValidationPoint};

/// Points of a curve at most.
pub const MOST_POINTS: usize = 2000;

/// A line of `metrics.jsonl`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Step(StepPoint),
    Validation { step: u64, val_bpb: f64 },
    Other {},
}

/// The curves of the runs `names`, each a phase. A run that is not there yet has none.
pub fn history(home: &Home, name: &str, runs: &[(String, TrainPhase)]) -> TrainHistory {
    let phases = runs.iter().filter_map(|(run, phase)| read(home, run, *phase)).collect();
    TrainHistory { name: name.to_owned(), phases }
}

fn read(home: &Home, run: &str, phase: TrainPhase) -> Option<PhaseHistory> {
    let file = File::open(home.run(run).join("metrics.jsonl")).ok()?;
    let mut history = empty(phase);
    for line in BufReader::new(file).lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Line::Step(point)) => history.points.push(point),
            Ok(Line::Validation { step, val_bpb }) => history.validations.push(ValidationPoint { step, bpb: val_bpb }),
            _ => {}
        }
        // Not all of a long run is ever in memory.
        if history.points.len() >= 2 * MOST_POINTS {
            thin(&mut history.points);
        }
    }
    while history.points.len() > MOST_POINTS {
        thin(&mut history.points);
    }
    Some(history)
}

/// A phase of which nothing is known.
pub fn empty(phase: TrainPhase) -> PhaseHistory {
    PhaseHistory { phase, points: Vec::new(), validations: Vec::new(), samples: Vec::<SamplePoint>::new() }
}

/// Leaves every second point, and the last.
fn thin(points: &mut Vec<StepPoint>) {
    let last = points.len().saturating_sub(1);
    let mut at = 0;
    points.retain(|_| {
        at += 1;
        (at - 1) % 2 == 0 || at - 1 == last
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_is_thinned_to_its_shape() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        std::fs::create_dir_all(home.run("a")).unwrap();
        let step = |step: u64| {
            format!(
                "{{\"step\":{step},\"loss\":{},\"smooth_loss\":1.0,\"bpb\":1.0,\"lr_multiplier\":1.0,\"tokens\":{step},\"epoch\":1,\"seconds\":0.1,\"tokens_per_second\":10.0,\"flops_per_second\":1.0,\"memory\":7}}\n",
                10_000 - step
            )
        };
        let mut lines: String = (0..10_000).map(step).collect();
        lines.push_str("{\"step\":10000,\"val_bpb\":2.5,\"min_val_bpb\":2.5}\nnot json\n{\"half");
        std::fs::write(home.run("a").join("metrics.jsonl"), lines).unwrap();
        let history = history(&home, "a", &[("a".into(), TrainPhase::Pretraining), ("b".into(), TrainPhase::FineTuning)]);
        assert_eq!(history.phases.len(), 1);
        let points = &history.phases[0].points;
        assert!((500..=MOST_POINTS).contains(&points.len()), "{}", points.len());
        assert!(points.windows(2).all(|pair| pair[0].step < pair[1].step));
        assert_eq!((points[0].step, points[points.len() - 1].step, points[0].memory_bytes), (0, 9999, 7));
        assert_eq!(history.phases[0].validations, [ValidationPoint { step: 10_000, bpb: 2.5 }]);
    }
}
