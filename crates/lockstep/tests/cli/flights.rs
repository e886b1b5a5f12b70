//! The flights demo's own models.

use crate::support::{Place, repository};

/// They were trained on what the features mean now: a change of one of them is told here, and `examples/flights/model` trains again.
#[test]
fn the_models_of_the_flights_go_with_their_features() {
    let repository = repository().canonicalize().unwrap();
    let said = Place::empty().run(&["check", "--project", &repository.display().to_string()]);
    assert_eq!(said.status, 0, "{}{}", said.stdout, said.stderr);
    for (model, runtime) in [("late_v1", "trees"), ("late_simple", "tract")] {
        let line = said.stdout.lines().find(|line| line.contains(model) && line.contains(runtime));
        assert!(line.is_some(), "{model}: {}", said.stdout);
    }
}
