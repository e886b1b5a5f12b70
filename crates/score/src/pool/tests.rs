//! Pools of a model that doubles its row, or does what a row tells it to.

mod brief;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::{Element, Port, Runtime, Session, Values};

/// Rows that are told apart from values.
const FAILS: f32 = 1001.0;
const PANICS: f32 = 1002.0;
const HANGS: f32 = 1003.0;
const SLOW: f32 = 1004.0;
/// How long a slow row takes.
const SLOW_FOR: Duration = Duration::from_millis(30);
/// How long anything is waited for that has to happen.
const SOON: Duration = Duration::from_secs(20);

/// Gives each row twice, and notes how it was asked to.
#[derive(Debug)]
struct Doubling {
    inputs: Vec<Port>,
    /// Hanging rows hang until this is set.
    released: Arc<AtomicBool>,
    sessions: Arc<AtomicUsize>,
    largest: Arc<AtomicUsize>,
    /// Sessions beyond so many panic when they are made.
    sessions_max: usize,
}

struct Doubler {
    released: Arc<AtomicBool>,
    largest: Arc<AtomicUsize>,
}

impl Doubling {
    fn new() -> Doubling {
        let inputs = vec![Port { name: "x".to_owned(), element: Element::Float32, width: vec![Some(1)], labels: None }];
        let (sessions, largest) = (Arc::default(), Arc::default());
        Doubling { inputs, released: Arc::default(), sessions, largest, sessions_max: usize::MAX }
    }
}

impl Model for Doubling {
    fn runtime(&self) -> Runtime {
        Runtime::Trees
    }

    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.inputs
    }

    fn session(&self) -> Result<Box<dyn Session>, RunError> {
        let made = self.sessions.fetch_add(1, Ordering::Relaxed);
        assert!(made < self.sessions_max, "no more sessions");
        Ok(Box::new(Doubler { released: Arc::clone(&self.released), largest: Arc::clone(&self.largest) }))
    }
}

impl Session for Doubler {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let Values::Float32(values) = &inputs[0].values else { panic!("{inputs:?}") };
        self.largest.fetch_max(values.len(), Ordering::Relaxed);
        for value in values {
            match *value {
                FAILS => return Err(RunError::Failed { runtime: Runtime::Trees, reason: "as told".to_owned() }),
                PANICS => panic!("as told"),
                HANGS => {
                    while !self.released.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
                SLOW => thread::sleep(SLOW_FOR),
                _ => {}
            }
        }
        Ok(vec![rows_of(values.iter().map(|value| value * 2.0))])
    }
}

fn rows_of(values: impl IntoIterator<Item = f32>) -> Tensor {
    let values: Vec<f32> = values.into_iter().collect();
    Tensor { shape: vec![values.len(), 1], values: Values::Float32(values) }
}

fn options(threads: usize) -> PoolOptions {
    PoolOptions { threads, max_batch: 8, timeout: SOON, warm_within: SOON, ..PoolOptions::default() }
}

/// As [`options`], for models that hang.
fn hasty() -> PoolOptions {
    PoolOptions { timeout: Duration::from_millis(200), ..options(1) }
}

fn pool(options: PoolOptions) -> (Pool, Arc<Doubling>) {
    let model = Arc::new(Doubling::new());
    (Pool::new(Arc::clone(&model) as Arc<dyn Model>, options, Vec::new()).unwrap(), model)
}

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = now() + SOON;
    while !holds() {
        assert!(now() < until, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_pool_is_warm_before_the_first_request() {
    let (pool, model) = pool(options(3));
    assert_eq!((model.sessions.load(Ordering::Relaxed), model.largest.load(Ordering::Relaxed)), (3, 1), "each has run a sample");
    assert_eq!(pool.run(vec![rows_of([1.5])], None), Ok(vec![rows_of([3.0])]));
    let counted = pool.figures().counted;
    assert_eq!((counted.runs, counted.rows, counted.of_rows.iter().sum::<u64>()), (1, 1, 1), "samples are not counted");
}

#[test]
fn what_does_not_warm_up_is_no_pool() {
    let failing = |sample: f32| Pool::new(Arc::new(Doubling::new()), options(2), vec![vec![rows_of([sample])]]).map(|_| ()).unwrap_err();
    assert_eq!(failing(FAILS).to_string(), "trees failed: as told");
    assert_eq!(failing(PANICS), PoolError::Panicked("as told".to_owned()));
    let model = Doubling { sessions_max: 1, ..Doubling::new() };
    assert_eq!(Pool::new(Arc::new(model), options(2), Vec::new()).map(|_| ()), Err(PoolError::Panicked("no more sessions".to_owned())));
    let model = Doubling::new();
    let released = Arc::clone(&model.released);
    let within = Duration::from_millis(50);
    let late = Pool::new(Arc::new(model), PoolOptions { warm_within: within, ..options(1) }, vec![vec![rows_of([HANGS])]]);
    assert_eq!(late.map(|_| ()), Err(PoolError::TimedOut(within)));
    released.store(true, Ordering::Relaxed);
}

#[test]
fn large_requests_are_cut_and_put_together() {
    let (pool, model) = pool(options(2));
    let values: Vec<f32> = (0..100).map(|value| value as f32).collect();
    let doubled = pool.run(vec![rows_of(values.clone())], None);
    assert_eq!(doubled, Ok(vec![rows_of(values.iter().map(|value| value * 2.0))]));
    assert_eq!(model.largest.load(Ordering::Relaxed), 8);
    assert_eq!(pool.figures().counted.runs, 13);
    // One block that fails is the whole request.
    let failed = pool.run(vec![rows_of(values.into_iter().chain([FAILS]))], None);
    assert_eq!(failed.unwrap_err().to_string(), "trees failed: as told");
}

#[test]
fn what_waits_is_run_together_and_each_gets_its_own() {
    let (pool, model) = pool(options(1));
    let slow = pool.submit(vec![rows_of([SLOW])], None);
    eventually("it is begun", || pool.figures().running == 1);
    let waiting: Vec<Pending> = (0..12).map(|value| pool.submit(vec![rows_of([value as f32])], None)).collect();
    for (value, pending) in waiting.into_iter().enumerate() {
        assert_eq!(pending.wait(), Ok(vec![rows_of([value as f32 * 2.0])]));
    }
    assert_eq!(slow.wait(), Ok(vec![rows_of([SLOW * 2.0])]));
    assert_eq!((model.largest.load(Ordering::Relaxed), pool.figures().counted.runs), (8, 3));
}

#[test]
fn one_that_fails_or_panics_takes_no_other_with_it() {
    let (pool, model) = pool(options(1));
    let slow = pool.submit(vec![rows_of([SLOW])], None);
    eventually("it is begun", || pool.figures().running == 1);
    let waiting = [1.0, FAILS, 2.0, PANICS, 3.0].map(|value| pool.submit(vec![rows_of([value])], None));
    let outcomes = waiting.map(Pending::wait);
    let good = |value| Ok(vec![rows_of([value])]);
    assert_eq!([&outcomes[0], &outcomes[2], &outcomes[4]], [&good(2.0), &good(4.0), &good(6.0)]);
    assert_eq!(outcomes[1].as_ref().unwrap_err().to_string(), "trees failed: as told");
    assert_eq!(outcomes[3], Err(PoolError::Panicked("as told".to_owned())));
    assert!(slow.wait().is_ok());
    assert!(model.sessions.load(Ordering::Relaxed) > 1, "a session that has panicked is used no more");
    assert_eq!(pool.figures().threads, 1);
}

#[test]
fn more_than_may_wait_is_refused() {
    let (pool, model) = pool(PoolOptions { queue: 2, ..options(1) });
    let hanging = pool.submit(vec![rows_of([HANGS])], None);
    eventually("it is begun", || pool.figures().running == 1);
    let waiting = [1.0, 2.0].map(|value| pool.submit(vec![rows_of([value])], None));
    assert_eq!(pool.run(vec![rows_of([3.0])], None), Err(PoolError::Full(2)));
    assert_eq!(pool.figures().counted.shed, 1);
    model.released.store(true, Ordering::Relaxed);
    assert!(hanging.wait().is_ok() && waiting.map(Pending::wait).iter().all(Result::is_ok));
}

#[test]
fn what_is_too_late_is_not_begun() {
    let (pool, model) = pool(options(1));
    assert_eq!(pool.run(vec![rows_of([1.0])], Some(now())), Err(PoolError::Late));
    let hanging = pool.submit(vec![rows_of([HANGS])], None);
    eventually("it is begun", || pool.figures().running == 1);
    // Refused while the only thread is at work: nobody waits until that is free.
    let late = pool.run(vec![rows_of([2.0])], Some(now() + Duration::from_millis(10)));
    assert_eq!(late, Err(PoolError::Late));
    drop(pool.submit(vec![rows_of([3.0])], None));
    model.released.store(true, Ordering::Relaxed);
    assert!(hanging.wait().is_ok());
    assert_eq!(pool.run(vec![rows_of([4.0])], None), Ok(vec![rows_of([8.0])]));
    let Counted { runs, late, .. } = pool.figures().counted;
    assert_eq!((runs, late), (2, 2), "neither what was too late nor what nobody waits for was run");
}

#[test]
fn a_thread_that_hangs_is_replaced_and_comes_back() {
    let (pool, model) = pool(hasty());
    let timed_out = Err(PoolError::TimedOut(Duration::from_millis(200)));
    assert_eq!(pool.run(vec![rows_of([HANGS])], None), timed_out);
    eventually("another has its place", || pool.figures().threads == 1);
    assert_eq!(pool.run(vec![rows_of([1.0])], None), Ok(vec![rows_of([2.0])]));
    assert_eq!((pool.figures().hanging, pool.figures().counted.hung), (1, 1));
    // Until there are too many that hang.
    for _ in 0..3 {
        assert_eq!(pool.run(vec![rows_of([HANGS])], None), timed_out);
    }
    assert_eq!(pool.run(vec![rows_of([1.0])], None), Err(PoolError::Stuck(4)));
    model.released.store(true, Ordering::Relaxed);
    eventually("one comes back", || pool.figures().threads == 1);
    assert_eq!(pool.run(vec![rows_of([1.0])], None), Ok(vec![rows_of([2.0])]));
    eventually("the others are gone", || pool.figures().hanging == 0);
    assert_eq!(pool.figures().threads, 1);
}

#[test]
fn what_waits_is_answered_at_the_end() {
    let (pool, _) = pool(options(1));
    let begun = pool.submit(vec![rows_of([SLOW])], None);
    let waiting = pool.submit(vec![rows_of([1.0])], None);
    pool.finish();
    assert!(begun.wait().is_ok() && waiting.wait().is_ok());
    assert_eq!(pool.run(vec![rows_of([1.0])], None), Err(PoolError::Ended));
    assert_eq!(pool.figures().threads, 0);
}

#[test]
fn an_end_waits_for_no_thread_that_hangs() {
    let (pool, model) = pool(hasty());
    let hanging = pool.submit(vec![rows_of([HANGS])], None);
    let waiting = pool.submit(vec![rows_of([1.0])], None);
    pool.finish();
    assert!(hanging.wait().is_err() && waiting.wait().is_err());
    model.released.store(true, Ordering::Relaxed);
}

#[test]
fn whoever_comes_from_work_waits_for_more_where_it_may() {
    let max_wait = Duration::from_millis(300);
    let (pool, model) = pool(PoolOptions { max_wait, ..options(1) });
    let begun = now();
    for _ in 0..100 {
        assert!(pool.run(vec![rows_of([1.0])], None).is_ok());
    }
    assert!(now() - begun < 10 * max_wait, "who is alone waits for nobody");
    let slow = pool.submit(vec![rows_of([SLOW])], None);
    eventually("it is begun", || pool.figures().running == 1);
    let first = pool.submit(vec![rows_of([1.0])], None);
    assert!(slow.wait().is_ok());
    let second = pool.submit(vec![rows_of([2.0])], None);
    assert!(first.wait().is_ok() && second.wait().is_ok());
    assert_eq!(model.largest.load(Ordering::Relaxed), 2, "both in one run");
}

#[test]
fn rows_that_are_none_of_the_model_are_refused() {
    let (pool, _) = pool(options(1));
    let refused = |tensors: Vec<Tensor>| pool.run(tensors, None).unwrap_err().to_string();
    let wide = Tensor { shape: vec![1, 2], values: Values::Float32(vec![1.0, 2.0]) };
    let short = Tensor { shape: vec![2, 1], values: Values::Float32(vec![1.0]) };
    let whole = Tensor { shape: vec![1, 1], values: Values::Int64(vec![1]) };
    assert_eq!(refused(Vec::new()), "0 inputs came · the model takes 1");
    assert_eq!(refused(vec![wide]), "input `x` has the dimensions [1, 2] · the model takes [?, 1]");
    assert_eq!(refused(vec![short]), "input `x` has 1 values · its dimensions are [2, 1]");
    assert_eq!(refused(vec![whole]), "input `x` is of int64 · the model takes float32");
    assert_eq!(pool.figures().counted, Counted::default());
}

#[test]
fn whoever_asked_may_be_gone_before_it_is_told_how_it_ended() {
    let (pool, model) = pool(hasty());
    let told = Arc::new(Mutex::new(Vec::new()));
    let submit = |value| {
        let told = Arc::clone(&told);
        let teller: Teller = Box::new(move |outcome| told.lock().unwrap().push(outcome.err().cloned()));
        pool.submit_telling(vec![rows_of([value])], None, teller)
    };
    assert!(submit(1.0).wait().is_ok());
    eventually("it is over", || pool.figures().running == 0);
    let hanging = submit(HANGS);
    eventually("it is begun", || pool.figures().running == 1);
    drop((hanging, submit(2.0)));
    eventually("all were told", || told.lock().unwrap().len() == 3);
    // One that hangs counts as such; what was never begun says nothing of the model.
    let mut told = told.lock().unwrap().clone();
    told.sort_by_key(|outcome| outcome.as_ref().map(ToString::to_string));
    assert_eq!(told, [None, Some(PoolError::TimedOut(hasty().timeout)), Some(PoolError::Ended)]);
    model.released.store(true, Ordering::Relaxed);
}

/// Wakes nobody: it is asked again.
#[test]
fn what_comes_of_rows_can_be_awaited() {
    let (pool, _) = pool(options(1));
    let mut pending = std::pin::pin!(pool.submit(vec![rows_of([SLOW])], None));
    let mut context = Context::from_waker(Waker::noop());
    let mut outcome = pending.as_mut().poll(&mut context);
    eventually("it is done", || {
        if outcome.is_pending() {
            outcome = pending.as_mut().poll(&mut context);
        }
        outcome.is_ready()
    });
    assert_eq!(outcome, Poll::Ready(Ok(vec![rows_of([SLOW * 2.0])])));
}

/// Many callers with rows of their own: each gets what it would get alone, whatever ran together.
#[test]
fn callers_at_once_get_what_each_would_get_alone() {
    let (pool, _) = pool(options(2));
    let mut random = fastrand::Rng::with_seed(7);
    let callers: Vec<Vec<Vec<f32>>> =
        (0..8).map(|_| (0..60).map(|_| (0..random.usize(1..30)).map(|_| random.f32() * 100.0).collect()).collect()).collect();
    thread::scope(|scope| {
        let pool = &pool;
        for requests in &callers {
            scope.spawn(move || {
                for values in requests {
                    let wanted = rows_of(values.iter().map(|value| value * 2.0));
                    assert_eq!(pool.run(vec![rows_of(values.iter().copied())], None), Ok(vec![wanted]));
                }
            });
        }
    });
    let Counted { runs, rows, .. } = pool.figures().counted;
    let asked: usize = callers.iter().flatten().map(Vec::len).sum();
    assert_eq!(rows, asked as u64);
    assert!(runs <= callers.iter().flatten().map(|values| values.len().div_ceil(8)).sum::<usize>() as u64);
}
