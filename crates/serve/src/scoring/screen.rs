//! Which rows go to a model: those whose features are there, and as fresh as the deployment wants them.

use arrow::array::Array;
use lockstep_model::EventTime;
use lockstep_transform::definition::When;

use super::deployed::{Deployed, Stage};
use super::score::Why;
use crate::desk::Answered;

/// Whether features that are missing, stale or old matter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    missing: When,
    stale: When,
    /// How old the oldest input of a row may be before the row is stale, µs.
    max_age: Option<i64>,
}

impl Screen {
    /// Lets every row pass.
    pub(super) const NONE: Screen = Screen { missing: When::Score, stale: When::Score, max_age: None };

    /// As a deployment declares.
    pub(super) fn of(deployed: &Deployed) -> Screen {
        Screen { missing: deployed.when_missing, stale: deployed.when_stale, max_age: deployed.max_age }
    }

    /// Which rows have the features that they need, by their places among `rows`; `None` where all do. `whys` has why the others fell out, row by row of the request, and `moments` the
    /// moment of each.
    pub(super) fn kept(self, stage: &Stage, answered: &Answered, (rows, moments): (&[u32], &[i64]), whys: &mut [Option<Why>]) -> Option<Vec<u32>> {
        let mut fell = self.too_old(answered, (rows, moments), whys);
        for feature in stage.features.iter().filter_map(|&feature| answered.features.get(feature)) {
            let nulls = (self.missing != When::Score).then(|| feature.values.logical_nulls()).flatten();
            let stale = feature.stale.as_ref().filter(|_| self.stale != When::Score);
            if nulls.is_none() && stale.is_none() {
                continue;
            }
            for (at, &row) in rows.iter().enumerate() {
                let why = if nulls.as_ref().is_some_and(|nulls| nulls.is_null(at)) {
                    Why { word: "missing", text: format!("feature `{}` has no value", feature.name).into() }
                } else if stale.is_some_and(|stale| stale[at]) {
                    Why { word: "stale", text: format!("feature `{}` is stale", feature.name).into() }
                } else {
                    continue;
                };
                fell[at] = true;
                // The first that is found is told; what is missing counts before what is stale.
                let known = &mut whys[row as usize];
                if known.as_ref().is_none_or(|known| known.word == "stale" && why.word == "missing") {
                    *known = Some(why);
                }
            }
        }
        fell.contains(&true).then(|| (0..rows.len() as u32).filter(|&at| !fell[at as usize]).collect())
    }

    /// Which rows are made from something that is older than it may be; it is noted of them.
    fn too_old(self, answered: &Answered, (rows, moments): (&[u32], &[i64]), whys: &mut [Option<Why>]) -> Vec<bool> {
        let mut fell = vec![false; rows.len()];
        let Some(max_age) = self.max_age.filter(|_| self.stale != When::Score) else { return fell };
        for ((&row, oldest), fell) in rows.iter().zip(answered.oldest_inputs.iter()).zip(&mut fell) {
            let Some(oldest) = oldest.filter(|oldest| *oldest < moments[row as usize].saturating_sub(max_age)) else { continue };
            *fell = true;
            let text = format!("its oldest input is of {}, and older than `max_age`", EventTime(oldest)).into();
            whys[row as usize].get_or_insert(Why { word: "stale", text });
        }
        fell
    }
}
