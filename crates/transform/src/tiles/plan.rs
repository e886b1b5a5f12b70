//! What of a view reading goes by.

use super::frame::Frame;
use super::measure::{Measure, Measures};

/// What of a view reading goes by: made once, since none of it depends on what is asked.
#[derive(Debug, Clone)]
pub struct ReadPlan {
    pub(super) frames: Vec<Frame>,
    /// Per output: its measure, and its frame's place among those that the measure is read over.
    pub(super) outputs: Vec<(usize, usize)>,
    /// Per measure: the frames it is read over, in the order of its groups.
    pub(super) frames_of: Vec<Vec<usize>>,
    /// Frames without and with a bound by rows, as bits.
    pub(super) range_frames: u64,
    pub(super) rows_frames: u64,
    /// Frames that some measure without tiles is read over: nothing of them can be merged.
    pub(super) untiled_frames: u64,
    pub(super) newest_rows: u64,
}

impl ReadPlan {
    /// To read each `(measure, frame)` of `outputs`.
    pub fn new(measures: &Measures, frames: &[Frame], outputs: &[(usize, usize)]) -> ReadPlan {
        let mut plan = ReadPlan {
            frames: frames.to_vec(),
            outputs: Vec::with_capacity(outputs.len()),
            frames_of: vec![Vec::new(); measures.measures.len()],
            range_frames: 0,
            rows_frames: 0,
            untiled_frames: 0,
            newest_rows: 0,
        };
        outputs.iter().for_each(|&(measure, frame)| plan.add(&measures.measures[measure], measure, frame));
        plan
    }

    /// The frames.
    pub(super) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Per output: its measure, and its frame's place among those that the measure is read over.
    pub(super) fn outputs(&self) -> &[(usize, usize)] {
        &self.outputs
    }

    /// Per measure: the frames it is read over.
    pub(super) fn frames_of(&self) -> &[Vec<usize>] {
        &self.frames_of
    }

    fn add(&mut self, of: &Measure, measure: usize, frame: usize) {
        let frames = &mut self.frames_of[measure];
        let place = frames.iter().position(|&known| known == frame).unwrap_or_else(|| {
            frames.push(frame);
            frames.len() - 1
        });
        self.outputs.push((measure, place));
        match self.frames[frame].last {
            None => self.range_frames |= 1 << frame,
            Some(last) => {
                self.rows_frames |= 1 << frame;
                self.newest_rows = self.newest_rows.max(last.reach());
            }
        }
        if !of.tiled {
            self.untiled_frames |= 1 << frame;
        }
    }
}
