//! Each rule with the smallest rows that show it.

use super::{check, check_kind};
use crate::admission::Kind;

const UNBOUNDED: &str = "allowed_lateness = 'unbounded'";

#[test]
fn the_same_content_again_changes_nothing() {
    check(
        UNBOUNDED,
        "k=1 t=10 x=1
         k=2 t=11 x=1
         k=1 t=10 x=1",
        "k=1 t=10 x=1 [∞, ∞)
         k=2 t=11 x=1 [∞, ∞)
         applied 2, superseded 0, duplicates 1, conflicts 0
         max Some(11)",
    );
}

#[test]
fn content_is_compared_as_rows_are_stored() {
    check(
        UNBOUNDED,
        "k=1 t=10 x=0
         k=1 t=10 x=-0
         k=2 t=10 x=NaN
         k=2 t=10 x=-NaN",
        "k=1 t=10 x=0 [∞, ∞)
         k=2 t=10 x=NaN [∞, ∞)
         applied 2, superseded 0, duplicates 2, conflicts 0
         max Some(10)",
    );
}

#[test]
fn other_content_under_a_known_key_is_a_conflict_and_the_first_stands() {
    check(
        UNBOUNDED,
        "k=1 t=10 x=1
         k=1 t=10 x=2
         k=1 t=12 x=1
         k=1 t=10",
        "k=1 t=10 x=1 [∞, ∞)
         dead 1: conflict
         dead 2: conflict
         dead 3: conflict
         applied 1, superseded 0, duplicates 0, conflicts 3
         max Some(12)",
    );
}

#[test]
fn a_row_too_far_behind_its_partition_is_refused() {
    check(
        "allowed_lateness = '5 microseconds'",
        "k=1 t=10
         k=2 t=5
         k=3 t=4
         k=4 t=11
         k=2 t=5",
        "k=2 t=5 [∞, ∞)
         k=1 t=10 [∞, ∞)
         k=4 t=11 [∞, ∞)
         refused 2: k=3 t=4 after 10
         refused 4: k=2 t=5 after 11
         applied 3, superseded 0, duplicates 0, conflicts 0
         max Some(11)",
    );
}

#[test]
fn history_is_admitted_in_any_order() {
    check_kind(
        "allowed_lateness = '5 microseconds'",
        Kind::History,
        "k=1 t=100
         k=2 t=5",
        "k=2 t=5 [∞, ∞)
         k=1 t=100 [∞, ∞)
         applied 2, superseded 0, duplicates 0, conflicts 0
         max Some(100)",
    );
}

#[test]
fn a_conflict_moves_the_largest_event_time_and_a_dead_letter_of_its_own_does_not() {
    check(
        "allowed_lateness = '5 microseconds', max_ahead = '1000 microseconds'",
        "k=1 t=16
         k=1 t=20
         k=2 t=14
         k=3 t=9000
         k=4 t=15",
        "k=4 t=15 [∞, ∞)
         k=1 t=16 [∞, ∞)
         refused 2: k=2 t=14 after 20
         dead 1: conflict
         dead 3: ahead
         applied 2, superseded 0, duplicates 0, conflicts 1
         max Some(20)",
    );
}

#[test]
fn a_key_that_its_log_has_forgotten_is_unknown_whatever_the_index_has() {
    check(
        "allowed_lateness = '5 microseconds', max_ahead = '1000 microseconds'",
        "k=1 t=10
         k=1 t=15
         k=1 t=21",
        "k=1 t=10 [∞, ∞)
         k=1 t=21 [∞, ∞)
         dead 1: conflict
         applied 2, superseded 0, duplicates 0, conflicts 1
         max Some(21)",
    );
}

#[test]
fn rows_without_key_or_event_time_are_put_aside() {
    check(
        UNBOUNDED,
        "t=10
         k=1
         k=2 tombstone",
        "dead 0: null_key
         dead 1: null_event_time
         dead 2: tombstone
         applied 0, superseded 0, duplicates 0, conflicts 0
         max None",
    );
}

#[test]
fn max_ahead_counts_from_the_append_time_or_else_the_clock() {
    check(
        "allowed_lateness = 'unbounded', max_ahead = '50 microseconds'",
        "k=1 t=1050
         k=2 t=1051
         k=3 t=150 append=100
         k=4 t=151 append=100",
        "k=3 t=150 [∞, ∞)
         k=1 t=1050 [∞, ∞)
         dead 1: ahead
         dead 3: ahead
         applied 2, superseded 0, duplicates 0, conflicts 0
         max Some(1050)",
    );
}

#[test]
fn max_ahead_counts_from_an_availability_that_is_an_expression() {
    check(
        "allowed_lateness = 'unbounded', max_ahead = '50 microseconds', available_at = 'seen', serving_lag = '7 microseconds'",
        "k=1 t=150 seen=100 append=5
         k=2 t=151 seen=100 append=900
         k=3 t=150",
        "k=1 t=150 seen=100 [107, ∞)
         dead 1: ahead
         dead 2: no_availability
         applied 1, superseded 0, duplicates 0, conflicts 0
         max Some(150)",
    );
}

#[test]
fn the_earliest_append_time_of_a_repeated_row_stands() {
    check(
        "allowed_lateness = 'unbounded', available_at = 'append_time'",
        "k=1 t=10 append=30
         k=1 t=10 append=40
         k=1 t=10 append=20
         k=2 t=10",
        "k=1 t=10 [20, ∞)
         dead 3: no_availability
         applied 1, superseded 0, duplicates 2, conflicts 0
         max Some(10)",
    );
}

#[test]
fn a_tombstone_that_says_nothing_is_known_when_the_log_had_come_there() {
    check(
        "allowed_lateness = 'unbounded', version = 'v', available_at = 'seen'",
        "k=1 t=10 v=1 seen=12
         k=2 t=50 v=1 seen=55
         k=1 v=2 tombstone
         k=3 t=60 v=1 seen=61
         k=2 v=2 tombstone append=70
         k=3 v=2 tombstone seen=80 append=90",
        "k=1 t=10 v=1 seen=12 [12, 50)
         k=2 t=50 v=1 seen=55 [55, 70)
         k=3 t=60 v=1 seen=61 [61, 80)
         applied 6, superseded 3, duplicates 0, conflicts 0
         max Some(60)",
    );
}

const VERSIONED: &str = "allowed_lateness = 'unbounded', version = 'v'";

#[test]
fn the_greatest_version_stands_in_whatever_order() {
    let expected = "k=1 t=12 v=3 x=3 [∞, ∞)
                    applied 3, superseded 2, duplicates 0, conflicts 0
                    max Some(12)";
    check(VERSIONED, "k=1 t=10 v=-1\nk=1 t=11 v=2 x=2\nk=1 t=12 v=3 x=3", expected);
    check(VERSIONED, "k=1 t=12 v=3 x=3\nk=1 t=11 v=2 x=2\nk=1 t=10 v=-1", expected);
}

#[test]
fn an_equal_version_is_a_duplicate_or_a_conflict() {
    check(
        VERSIONED,
        "k=1 t=10 v=1 x=1
         k=1 t=10 v=1 x=1
         k=1 t=10 v=1 x=2
         k=1 t=10 x=2",
        "k=1 t=10 v=1 x=1 [∞, ∞)
         dead 2: conflict
         dead 3: null_version
         applied 1, superseded 0, duplicates 1, conflicts 1
         max Some(10)",
    );
}

#[test]
fn a_tombstone_beats_an_equal_version_and_loses_to_a_greater_one() {
    let nothing = "applied 2, superseded 1, duplicates 0, conflicts 0\nmax Some(10)";
    check(VERSIONED, "k=1 t=10 v=1\nk=1 v=1 tombstone", nothing);
    check(VERSIONED, "k=1 v=1 tombstone\nk=1 t=10 v=1", nothing);
    let greater = "k=1 t=10 v=2 [∞, ∞)\napplied 2, superseded 1, duplicates 0, conflicts 0\nmax Some(10)";
    check(VERSIONED, "k=1 t=10 v=2\nk=1 v=1 tombstone", greater);
    check(VERSIONED, "k=1 v=1 tombstone\nk=1 t=10 v=2", greater);
}

#[test]
fn a_tombstone_is_never_late_and_moves_nothing() {
    check(
        "allowed_lateness = '0 seconds', version = 'v'",
        "k=1 t=10 v=1
         k=1 t=2 v=2 tombstone
         k=2 t=999 v=1 tombstone
         k=3 t=11 v=1
         k=4 v=1 tombstone
         k=4 v=1 tombstone",
        "k=3 t=11 v=1 [∞, ∞)
         applied 5, superseded 1, duplicates 1, conflicts 0
         max Some(11)",
    );
}

#[test]
fn a_later_row_of_a_compacted_log_stands() {
    check(
        "allowed_lateness = 'unbounded', version = 'position'",
        "k=1 t=10 x=1
         k=1 t=9 x=2
         k=2 t=9 x=5
         k=2 tombstone",
        "k=1 t=9 x=2 [∞, ∞)
         applied 4, superseded 2, duplicates 0, conflicts 0
         max Some(10)",
    );
}

const KNOWN: &str = "allowed_lateness = 'unbounded', version = 'v', available_at = 'seen'";

#[test]
fn a_version_is_known_until_a_greater_one_is() {
    check(
        KNOWN,
        "k=1 t=10 v=1 seen=20
         k=1 t=11 v=2 seen=30
         k=1 v=3 tombstone append=45",
        "k=1 t=10 v=1 seen=20 [20, 30)
         k=1 t=11 v=2 seen=30 [30, 45)
         applied 3, superseded 2, duplicates 0, conflicts 0
         max Some(11)",
    );
}

#[test]
fn a_version_in_between_shortens_the_one_before_it() {
    check(
        KNOWN,
        "k=1 t=10 v=1 seen=20
         k=1 t=10 v=3 seen=40
         k=1 t=10 v=2 seen=30",
        "k=1 t=10 v=1 seen=20 [20, 30)
         k=1 t=10 v=2 seen=30 [30, 40)
         k=1 t=10 v=3 seen=40 [40, ∞)
         applied 3, superseded 2, duplicates 0, conflicts 0
         max Some(10)",
    );
}

#[test]
fn a_version_that_was_never_known_is_no_row() {
    let expected = "k=1 t=10 v=3 seen=20 [20, ∞)
                    applied 3, superseded 2, duplicates 0, conflicts 0
                    max Some(10)";
    check(KNOWN, "k=1 t=10 v=1 seen=20\nk=1 t=10 v=2 seen=25\nk=1 t=10 v=3 seen=20", expected);
    check(KNOWN, "k=1 t=10 v=3 seen=20\nk=1 t=10 v=2 seen=25\nk=1 t=10 v=1 seen=20", expected);
}

#[test]
fn a_tombstone_that_was_known_first_hides_its_row_altogether() {
    check(
        KNOWN,
        "k=1 v=1 tombstone append=15
         k=1 t=10 v=1 seen=20
         k=2 v=1 tombstone append=25
         k=2 t=10 v=1 seen=20",
        "k=2 t=10 v=1 seen=20 [20, 25)
         applied 4, superseded 2, duplicates 0, conflicts 0
         max Some(10)",
    );
}

#[test]
fn the_delay_of_the_pipeline_counts_for_rows_and_tombstones() {
    check(
        "allowed_lateness = 'unbounded', version = 'v', available_at = 'append_time', serving_lag = '5 microseconds'",
        "k=1 t=10 v=1 append=20
         k=1 v=1 tombstone append=30
         k=2 t=10 v=1 append=40
         k=2 t=10 v=1 append=20",
        "k=1 t=10 v=1 [25, 35)
         k=2 t=10 v=1 [25, ∞)
         applied 3, superseded 1, duplicates 1, conflicts 0
         max Some(10)",
    );
}

#[test]
fn what_is_known_for_ever_is_told_from_what_is_known_until_the_last_moment() {
    check(
        "allowed_lateness = 'unbounded', version = 'v', available_at = 'append_time', serving_lag = '1 day'",
        "k=1 t=10 v=1 append=20
         k=1 t=10 v=2 append=9223372036854775807",
        "k=1 t=10 v=1 [86400000020, 9223372036854775806)
         k=1 t=10 v=2 [9223372036854775806, ∞)
         applied 2, superseded 1, duplicates 0, conflicts 0
         max Some(10)",
    );
}
