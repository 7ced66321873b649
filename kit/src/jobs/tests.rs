//! Tests of the job runner.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{anyhow, bail};
use jiff::Timestamp;
use tokio::time::{Instant, advance, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::clock::{Clock, SimulatedClock};

const EVERY: Duration = Duration::from_secs(60);

/// What a step does.
#[derive(Debug, Clone, Copy)]
enum Plan {
    Idle,
    More,
    Fail,
    Panic,
    Take(Duration),
}

/// Does what is planned, then nothing, and notes when.
#[derive(Clone)]
struct Planned {
    plans: Arc<Mutex<VecDeque<Plan>>>,
    begun: Arc<Mutex<Vec<Duration>>>,
    backlogs: Arc<Mutex<VecDeque<Result<Option<u64>>>>>,
    start: Instant,
}

impl Planned {
    fn new(plans: impl IntoIterator<Item = Plan>) -> Self {
        Self {
            plans: Arc::new(Mutex::new(plans.into_iter().collect())),
            begun: Arc::default(),
            backlogs: Arc::default(),
            start: Instant::now(),
        }
    }

    /// Seconds since the start at which steps began.
    fn begun(&self) -> Vec<u64> {
        let begun = self.begun.lock().unwrap();
        begun.iter().map(Duration::as_secs).collect()
    }
}

impl Job for Planned {
    const NAME: &'static str = "planned";

    async fn step(&self) -> Result<Step> {
        self.begun.lock().unwrap().push(self.start.elapsed());
        let plan = self.plans.lock().unwrap().pop_front();
        match plan.unwrap_or(Plan::Idle) {
            Plan::Idle => Ok(Step::Idle),
            Plan::More => Ok(Step::More),
            Plan::Fail => Err(anyhow!("the disk is full").context("cannot write")),
            Plan::Panic => panic!("out of ideas"),
            Plan::Take(time) => {
                sleep(time).await;
                Ok(Step::Idle)
            }
        }
    }

    async fn backlog(&self) -> Result<Option<u64>> {
        self.backlogs
            .lock()
            .unwrap()
            .pop_front()
            .unwrap_or(Ok(None))
    }
}

struct Fixture {
    runner: Runner,
    tasks: TaskTracker,
    stop: CancellationToken,
    time: SimulatedClock,
}

impl Fixture {
    fn new() -> Self {
        let time = SimulatedClock::new(Timestamp::UNIX_EPOCH);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Self {
            runner: Runner::new(Clock::from(&time), tasks.clone(), stop.clone()),
            tasks,
            stop,
            time,
        }
    }

    /// Spawns, and lets the job begin to wait.
    async fn spawn(&self, job: &Planned, pace: impl Into<Pace>) {
        self.runner.spawn(job.clone(), pace);
        self.settle().await;
    }

    async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// Seconds, one after the other, on both clocks.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.time.advance(Duration::from_secs(1));
            advance(Duration::from_secs(1)).await;
            self.settle().await;
        }
    }

    fn status(&self) -> JobStatus {
        self.runner.statuses().snapshot().remove(0)
    }

    /// How long it takes until all jobs have ended.
    async fn stop(&self) -> Duration {
        let begun = Instant::now();
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        begun.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_at_its_pace_and_at_once_while_more_is_left() {
    let (fixture, job) = (
        Fixture::new(),
        Planned::new([Plan::Idle, Plan::More, Plan::More]),
    );
    fixture.spawn(&job, EVERY).await;
    fixture.pass(200).await;
    assert_eq!(job.begun(), [60, 120, 120, 120, 180]);
    let status = fixture.status();
    assert_eq!(
        (status.name, status.runs, status.failures),
        ("planned", 5, 0)
    );
    assert_eq!((status.state, status.every_ms), (JobState::Idle, 60_000));
}

#[tokio::test(start_paused = true)]
async fn a_wake_begins_a_step_now_and_many_begin_one() {
    let (fixture, job, wake) = (Fixture::new(), Planned::new([]), Wake::new());
    fixture.spawn(&job, Pace::every(EVERY).or_at(&wake)).await;
    fixture.pass(10).await;
    wake.wake();
    wake.clone().wake();
    fixture.settle().await;
    fixture.pass(70).await;
    assert_eq!(job.begun(), [10, 70]);
}

#[tokio::test(start_paused = true)]
async fn a_wake_during_a_step_or_before_the_job_was_spawned_is_not_lost() {
    let take = Plan::Take(Duration::from_secs(5));
    let (fixture, job, wake) = (Fixture::new(), Planned::new([take]), Wake::new());
    wake.wake();
    fixture.spawn(&job, Pace::every(EVERY).or_at(&wake)).await;
    assert_eq!(fixture.status().state, JobState::Running);
    wake.wake();
    fixture.pass(50).await;
    assert_eq!(job.begun(), [0, 5]);
}

#[tokio::test(start_paused = true)]
async fn one_wake_tells_all_jobs_that_listen() {
    let (fixture, wake) = (Fixture::new(), Wake::new());
    let jobs = [Planned::new([]), Planned::new([])];
    for job in &jobs {
        fixture.spawn(job, Pace::every(EVERY).or_at(&wake)).await;
    }
    wake.wake();
    fixture.settle().await;
    assert_eq!(jobs.map(|job| job.begun()), [[0], [0]]);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_shown_and_tried_again() {
    let (fixture, job) = (Fixture::new(), Planned::new([Plan::Fail, Plan::More]));
    fixture.spawn(&job, EVERY).await;
    fixture.pass(130).await;
    assert_eq!(job.begun(), [60, 120, 120]);
    let status = fixture.status();
    assert_eq!((status.runs, status.failures), (3, 1));
    let error = status.last_error.unwrap();
    assert_eq!(error.text, "cannot write: the disk is full");
    assert_eq!(error.at, Timestamp::from_second(60).unwrap());
    assert_eq!(status.ended_at, Some(Timestamp::from_second(120).unwrap()));
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_not_tried_more_often_than_once_a_second() {
    let (fixture, job) = (Fixture::new(), Planned::new([Plan::Fail, Plan::Fail]));
    fixture.spawn(&job, Duration::from_millis(600)).await;
    fixture.pass(3).await;
    let begun = job.begun.lock().unwrap().clone();
    assert!(begun[1] - begun[0] >= Duration::from_secs(1), "{begun:?}");
    assert!(begun[2] - begun[1] >= Duration::from_secs(1), "{begun:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_like_others() {
    let (fixture, job) = (Fixture::new(), Planned::new([Plan::Panic]));
    fixture.spawn(&job, EVERY).await;
    fixture.pass(120).await;
    assert_eq!(job.begun(), [60, 120]);
    let status = fixture.status();
    assert_eq!((status.runs, status.failures), (2, 1));
    assert_eq!(status.last_error.unwrap().text, "panicked: out of ideas");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_takes_too_long_is_cut_and_tried_again() {
    let take = Plan::Take(Duration::from_secs(3600));
    let (fixture, job) = (Fixture::new(), Planned::new([take]));
    let pace = Pace::every(EVERY).within(Duration::from_secs(10));
    fixture.spawn(&job, pace).await;
    fixture.pass(130).await;
    assert_eq!(job.begun(), [60, 130]);
    let status = fixture.status();
    assert_eq!(
        status.last_error.unwrap().text,
        "took longer than 10s and was cut"
    );
}

#[tokio::test(start_paused = true)]
async fn a_status_tells_what_runs_and_how_long_the_last_step_took() {
    let take = Plan::Take(Duration::from_secs(5));
    let (fixture, job) = (Fixture::new(), Planned::new([take]));
    fixture.spawn(&job, EVERY).await;
    let new = fixture.status();
    assert_eq!((new.runs, new.started_at, new.ended_at), (0, None, None));
    fixture.pass(62).await;
    let running = fixture.status();
    assert_eq!((running.state, running.runs), (JobState::Running, 1));
    assert_eq!(
        running.started_at,
        Some(Timestamp::from_second(60).unwrap())
    );
    assert_eq!(running.ended_at, None);
    fixture.pass(5).await;
    let ended = fixture.status();
    assert_eq!(
        (ended.state, ended.duration_ms),
        (JobState::Idle, Some(5000))
    );
    assert_eq!(ended.ended_at, Some(Timestamp::from_second(65).unwrap()));
    let json = serde_json::to_value(&ended).unwrap();
    assert_eq!(json["state"], "idle");
    assert_eq!(json["started_at"], "1970-01-01T00:01:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_while_its_gate_is_shut_and_says_what_for() {
    let (fixture, job) = (Fixture::new(), Planned::new([]));
    let open = Arc::new(AtomicBool::new(false));
    let gate = Gate::new("the end of restore mode", {
        let open = Arc::clone(&open);
        move || {
            let open = open.load(Ordering::SeqCst);
            async move { Ok(open) }
        }
    });
    fixture
        .spawn(&job, Pace::every(EVERY).only_while(&gate))
        .await;
    fixture.pass(61).await;
    let waiting = fixture.status();
    assert_eq!((waiting.state, waiting.runs), (JobState::Waiting, 0));
    assert_eq!(waiting.waits_for, Some("the end of restore mode"));
    open.store(true, Ordering::SeqCst);
    fixture.pass(60).await;
    assert_eq!(job.begun(), [120]);
    let status = fixture.status();
    assert_eq!((status.state, status.waits_for), (JobState::Idle, None));
}

#[tokio::test(start_paused = true)]
async fn a_job_of_two_gates_works_while_both_are_open_and_says_which_one_is_not() {
    let (fixture, job) = (Fixture::new(), Planned::new([]));
    let open = [true, false].map(|open| Arc::new(AtomicBool::new(open)));
    let [first, second] = [("rain", &open[0]), ("sun", &open[1])].map(|(name, open)| {
        let open = Arc::clone(open);
        Gate::new(name, move || {
            let open = open.load(Ordering::SeqCst);
            async move { Ok(open) }
        })
    });
    let pace = Pace::every(EVERY).only_while(&first).only_while(&second);
    fixture.spawn(&job, pace).await;
    fixture.pass(61).await;
    assert_eq!(fixture.status().waits_for, Some("sun"));
    open[0].store(false, Ordering::SeqCst);
    open[1].store(true, Ordering::SeqCst);
    fixture.pass(60).await;
    assert_eq!(
        (fixture.status().waits_for, fixture.status().runs),
        (Some("rain"), 0)
    );
    open[0].store(true, Ordering::SeqCst);
    fixture.pass(60).await;
    assert_eq!(
        (fixture.status().waits_for, fixture.status().runs),
        (None, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_cannot_tell_is_an_error_and_shut() {
    let (fixture, job) = (Fixture::new(), Planned::new([]));
    let gate = Gate::new("good weather", || async { bail!("it is dark") });
    fixture
        .spawn(&job, Pace::every(EVERY).only_while(&gate))
        .await;
    fixture.pass(61).await;
    let status = fixture.status();
    assert_eq!((status.runs, status.failures), (0, 1));
    assert_eq!(status.last_error.unwrap().text, "it is dark");
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_the_step_end_and_begins_no_other() {
    let job = Planned::new([Plan::Take(Duration::from_secs(5)), Plan::More]);
    let (fixture, wake) = (Fixture::new(), Wake::new());
    fixture.spawn(&job, Pace::every(EVERY).or_at(&wake)).await;
    fixture.pass(61).await;
    wake.wake();
    assert_eq!(fixture.stop().await, Duration::from_secs(4));
    assert_eq!(job.begun(), [60]);
    assert_eq!(fixture.status().state, JobState::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_job_that_may_be_cut() {
    let job = Planned::new([Plan::Take(Duration::from_secs(3600))]);
    let fixture = Fixture::new();
    fixture.spawn(&job, Pace::every(EVERY).cut_at_stop()).await;
    fixture.pass(61).await;
    assert_eq!(fixture.status().state, JobState::Running);
    assert_eq!(fixture.stop().await, Duration::ZERO);
    assert_eq!(fixture.status().state, JobState::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_is_shown_and_not_asked_for_after_each_step() {
    let (fixture, job) = (Fixture::new(), Planned::new([Plan::More; 3]));
    let backlogs = [Ok(Some(7)), Ok(Some(5)), Err(anyhow!("no answer"))];
    job.backlogs.lock().unwrap().extend(backlogs);
    fixture.spawn(&job, Duration::from_secs(5)).await;
    assert_eq!(fixture.status().backlog, None);
    fixture.pass(5).await;
    assert_eq!(
        (fixture.status().runs, fixture.status().backlog),
        (4, Some(7))
    );
    fixture.pass(5).await;
    assert_eq!(
        (fixture.status().runs, fixture.status().backlog),
        (5, Some(7))
    );
    fixture.pass(5).await;
    assert_eq!(
        (fixture.status().runs, fixture.status().backlog),
        (6, Some(5))
    );
    fixture.pass(10).await;
    assert_eq!(fixture.status().backlog, None);
    assert_eq!(fixture.status().failures, 0);
}

#[tokio::test(start_paused = true)]
async fn jobs_are_listed_in_the_order_in_which_they_were_spawned() {
    struct Other;
    impl Job for Other {
        const NAME: &'static str = "other";
        async fn step(&self) -> Result<Step> {
            Ok(Step::more_if(false))
        }
    }
    let fixture = Fixture::new();
    fixture.runner.spawn(Other, EVERY);
    fixture.runner.spawn(Planned::new([]), EVERY);
    let names = fixture.runner.statuses().snapshot();
    let names: Vec<_> = names.iter().map(|status| status.name).collect();
    assert_eq!(names, ["other", "planned"]);
}
