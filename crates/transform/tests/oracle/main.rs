//! Random definitions over random events: what tiles say against what stock DataFusion says of the definition's own SQL, in every bit.
//!
//! A failure prints the seed and the definition. `ORACLE_SEED=n` runs that one case, `ORACLE_CASES=n` so many.

mod case;

use case::{Case, Compared};

const CASES: u64 = 250;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn tiles_and_the_oracle_agree_in_every_bit() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let seeds = match variable("ORACLE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("ORACLE_CASES").unwrap_or(CASES),
    };
    let mut compared = Compared::default();
    for seed in seeds {
        runtime.block_on(Case::new(seed).check(&mut compared));
    }
    println!("values compared: {:?}", compared.0);
    let share = |status: &str| compared.0.get(status).copied().unwrap_or(0) as f64 / compared.0.values().sum::<usize>() as f64;
    assert!(share("PRESENT") > 0.25, "the events say too little");
    for status in ["NOT_FOUND", "EXPIRED", "ERROR", "NULL"] {
        assert!(share(status) > 0.002, "hardly any {status}");
    }
}
