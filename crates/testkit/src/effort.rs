//! How hard tests try.

/// What bounded tests multiply their number of cases with: `LOCKSTEP_TEST_EFFORT`, or 1.
pub fn effort() -> usize {
    std::env::var("LOCKSTEP_TEST_EFFORT").ok().and_then(|effort| effort.parse().ok()).unwrap_or(1)
}
