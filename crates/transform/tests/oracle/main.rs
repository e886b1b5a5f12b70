//! Random definitions over random events: what tiles say against what stock DataFusion says of the definition's own SQL, in every bit.
//!
//! A failure prints the seed and the definition. `ORACLE_SEED=n` runs that one case, `ORACLE_CASES=n` so many.

mod case;
mod definition;

use case::Case;

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
    let (mut values, mut present) = (0, 0);
    for seed in seeds {
        let case = Case::new(seed);
        let compared = runtime.block_on(case.check());
        values += compared.values;
        present += compared.present;
    }
    println!("{values} values compared, {present} of them present");
    assert!(present * 4 > values, "of {values} values only {present} are present: the events say too little");
}
