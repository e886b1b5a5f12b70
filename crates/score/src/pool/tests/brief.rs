//! A model whose few rows are run by whoever asks: what a pool promises holds for them, too.

use std::thread::{ThreadId, current};

use super::*;
use crate::Brief;

/// Doubles, and notes on which thread; as many steps as its options say, row by row.
#[derive(Debug)]
struct Quick {
    doubling: Doubling,
    steps_of_row: usize,
    ran_on: Mutex<Vec<ThreadId>>,
}

impl Model for Quick {
    fn runtime(&self) -> Runtime {
        self.doubling.runtime()
    }

    fn inputs(&self) -> &[Port] {
        self.doubling.inputs()
    }

    fn outputs(&self) -> &[Port] {
        self.doubling.outputs()
    }

    fn session(&self) -> Result<Box<dyn Session>, RunError> {
        self.doubling.session()
    }

    fn brief(&self) -> Option<&dyn Brief> {
        Some(self)
    }
}

impl Brief for Quick {
    fn steps(&self, inputs: &[Tensor]) -> usize {
        inputs[0].rows().saturating_mul(self.steps_of_row)
    }

    fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        self.ran_on.lock().unwrap().push(current().id());
        let (released, largest) = (Arc::clone(&self.doubling.released), Arc::clone(&self.doubling.largest));
        Doubler { released, largest }.run(inputs)
    }
}

/// A pool of one thread that may let one run wait, whose rows take so many steps.
fn quick(steps_of_row: usize) -> (Pool, Arc<Quick>) {
    let model = Arc::new(Quick { doubling: Doubling::new(), steps_of_row, ran_on: Mutex::default() });
    (Pool::new(Arc::clone(&model) as Arc<dyn Model>, PoolOptions { queue: 1, ..options(1) }, Vec::new()).unwrap(), model)
}

#[test]
fn a_few_rows_are_run_by_whoever_asks() {
    let (pool, model) = quick(4096);
    let ran_here = || std::mem::take(&mut *model.ran_on.lock().unwrap());
    for (rows, here) in [(1, true), (4, true), (5, false), (8, false), (9, false)] {
        let values: Vec<f32> = (0..rows).map(|value| value as f32).collect();
        let outcome = pool.run(vec![rows_of(values.clone())], None);
        assert_eq!(outcome, Ok(vec![rows_of(values.into_iter().map(|value| value * 2.0))]), "{rows} rows");
        assert_eq!(ran_here(), if here { vec![current().id()] } else { Vec::new() }, "{rows} rows");
    }
    // More than a run may have are several, however few their steps are.
    let (pool, model) = quick(0);
    assert!(pool.run(vec![rows_of([1.0; 8])], None).is_ok());
    assert_eq!(model.ran_on.lock().unwrap().len(), 1);
    assert!(pool.run(vec![rows_of([1.0; 9])], None).is_ok());
    assert_eq!((model.ran_on.lock().unwrap().len(), pool.figures().counted.here, pool.figures().counted.runs), (1, 1, 3));
}

#[test]
fn they_are_counted_caught_and_told_like_others() {
    let (pool, _) = quick(1);
    let told = Arc::new(Mutex::new(Vec::new()));
    let submit = |value: f32, deadline| {
        let told = Arc::clone(&told);
        let teller: Teller = Box::new(move |outcome| told.lock().unwrap().push(outcome.err().cloned()));
        pool.submit_telling(vec![rows_of([value])], deadline, teller).wait()
    };
    let (panicked, failed) = (PoolError::Panicked("as told".to_owned()), RunError::Failed { runtime: Runtime::Trees, reason: "as told".to_owned() });
    assert_eq!(submit(1.5, None), Ok(vec![rows_of([3.0])]));
    assert_eq!(submit(PANICS, None), Err(panicked.clone()));
    assert_eq!(submit(FAILS, None), Err(failed.clone().into()));
    assert_eq!(submit(2.0, Some(now())), Err(PoolError::Late));
    pool.finish();
    assert_eq!(submit(2.0, None), Err(PoolError::Ended));
    let told = std::mem::take(&mut *told.lock().unwrap());
    assert_eq!(told, [None, Some(panicked), Some(failed.into()), Some(PoolError::Late), Some(PoolError::Ended)]);
    let counted = pool.figures().counted;
    assert_eq!((counted.runs, counted.here, counted.rows, counted.panicked, counted.failed, counted.late), (3, 3, 3, 1, 1, 1));
    assert_eq!((counted.of_rows[0], counted.waited[0]), (3, 3));
}

#[test]
fn they_wait_for_no_thread_and_are_never_shed() {
    let (pool, model) = quick(4096);
    let hanging = pool.submit(vec![rows_of([HANGS; 5])], None);
    eventually("it is begun", || pool.figures().running == 1);
    let waiting = pool.submit(vec![rows_of([1.0; 5])], None);
    assert_eq!(pool.run(vec![rows_of([1.0; 5])], None), Err(PoolError::Full(1)), "five are handed over");
    assert_eq!(pool.run(vec![rows_of([1.0; 4])], None), Ok(vec![rows_of([2.0; 4])]));
    assert_eq!((pool.figures().waiting, pool.figures().counted.shed), (1, 1));
    model.doubling.released.store(true, Ordering::Relaxed);
    assert!(hanging.wait().is_ok() && waiting.wait().is_ok());
}
