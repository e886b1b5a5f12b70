//! Runs on the thread of whoever asks: a few rows of a model that cannot hang, for which handing them over and being woken takes longer than the run.
//!
//! Nothing of what a pool promises is other for it: a panic is caught, what is late or comes after the end is not run, and each run is counted. It waits for no thread, so that nothing
//! of it is ever shed.

use super::asked::tell;
use super::{PoolError, Shared, Teller, rows};
use crate::{Brief, Tensor};

/// Steps of a run that is made at once, at the most: some tens of microseconds, as long as the lookup before it takes, and several times what two hand-overs do. What takes longer would
/// hold up whatever else its thread has to answer.
const STEPS_MAX: usize = 16 * 1024;

impl Shared {
    /// How rows are run at once, where they are few enough. More than a run may have are several, which threads share.
    pub(super) fn brief(&self, tensors: &[Tensor]) -> Option<&dyn Brief> {
        let brief = self.model.brief().filter(|_| rows::rows(tensors) <= self.options.max_batch)?;
        (brief.steps(tensors) <= STEPS_MAX).then_some(brief)
    }

    /// Runs rows on this thread, and tells how it ended.
    pub(super) fn run_here(&self, brief: &dyn Brief, tensors: &[Tensor], teller: Option<Teller>) -> Result<Vec<Tensor>, PoolError> {
        if self.lock().ending {
            tell(teller, &Err(PoolError::Ended));
            return Err(PoolError::Ended);
        }
        let rows = rows::rows(tensors);
        let outcome = self.caught(rows, || brief.run(tensors));
        self.lock().counted.ended_here(rows, &outcome);
        tell(teller, &outcome);
        outcome
    }
}
