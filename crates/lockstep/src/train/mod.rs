//! Training sets: the features of a spine's rows, computed from history, or those of rows that were served, with a report and a manifest; and scores of such rows.

mod answer;
mod output;
mod report;
mod scored;
pub mod served;
mod spine;

pub use answer::{Answered, Asked, Own, differing};
pub use output::{
    Digesting, Directory, FromStore, GenerationUsed, InputFile, Job, MANIFEST, Manifest, ManifestColumn, ManifestPart, PositionUsed, ViewUsed,
    digest, digest_of, sync_dir, write_part, write_whole,
};
pub use report::{FeaturePart, PartReport, TrainingReport};
pub use scored::{ModelUsed, ScoredPart, ScoredRows, Scores};
pub use spine::{SPINE, Spine, SpineOf, SpineRows, Told, columns_in};
