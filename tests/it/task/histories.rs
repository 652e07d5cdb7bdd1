//! Random histories of tasks that give way, sleep, wake and cancel each other, against a plain sorted list.
//!
//! Holds A1, A2, A3, A4, M1, R1.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    pin::pin,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use alooper::{
    task::{Task, TaskError},
    testing::TestLooper,
};
use proptest::{collection::vec, prelude::*};

use crate::support::tasks::wait_for;

/// What a task does between two of its polls, or the history between two turns.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Gives way once.
    Yield,
    /// Sleeps for so many nanoseconds.
    Sleep(u8),
    /// Waits until it is woken by another one.
    Wait,
    Wake(usize),
    Cancel(usize),
    /// A plain message.
    Post,
}

/// What happens from outside.
#[derive(Clone, Debug)]
enum Op {
    Spawn(Vec<Step>),
    Do(Step),
    Advance(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Yield),
        3 => (0..5_u8).prop_map(Step::Sleep),
        2 => Just(Step::Wait),
        4 => (0..8_usize).prop_map(Step::Wake),
        1 => (0..8_usize).prop_map(Step::Cancel),
        2 => Just(Step::Post),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => vec(step(), 0..6).prop_map(Op::Spawn),
        4 => step().prop_map(Op::Do),
        3 => (0..4_u8).prop_map(Op::Advance),
    ]
}

/// What was seen: the step of a task that began, or a message that ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Begun { task: usize, step: usize },
    Ended(usize),
    Message(usize),
}

// The looper.

#[derive(Default)]
struct World {
    seen: RefCell<Vec<Seen>>,
    tasks: RefCell<Vec<Task<()>>>,
    wakers: RefCell<BTreeMap<usize, Waker>>,
    messages: Cell<usize>,
}

impl World {
    fn see(&self, seen: Seen) {
        self.seen.borrow_mut().push(seen);
    }

    /// Does what needs no waiting.
    fn act(self: &Rc<Self>, looper: &alooper::Looper, step: Step) {
        match step {
            Step::Wake(which) => {
                let waker = self.wakers.borrow().get(&which).cloned();
                waker.into_iter().for_each(Waker::wake);
            }
            Step::Cancel(which) => {
                if let Some(task) = self.tasks.borrow().get(which) {
                    task.cancel();
                }
            }
            Step::Post => {
                let (world, number) = (self.clone(), self.messages.get());
                self.messages.set(number + 1);
                looper.post(move |_| world.see(Seen::Message(number))).unwrap();
            }
            Step::Yield | Step::Sleep(_) | Step::Wait => {}
        }
    }

    fn spawn(self: &Rc<Self>, looper: &TestLooper, steps: Vec<Step>) {
        let (world, handle) = (self.clone(), looper.handle());
        let number = self.tasks.borrow().len();
        let task = looper.spawn(async move {
            for (at, step) in steps.into_iter().enumerate() {
                std::future::poll_fn(|context| {
                    world.wakers.borrow_mut().insert(number, context.waker().clone());
                    Poll::Ready(())
                })
                .await;
                world.see(Seen::Begun { task: number, step: at });
                handle.with_looper(|looper| world.act(looper, step)).unwrap();
                match step {
                    Step::Yield => crate::support::tasks::yield_now().await,
                    Step::Sleep(nanos) => {
                        let sleep = handle.sleep(Duration::from_nanos(nanos.into()));
                        pin!(sleep).await;
                    }
                    Step::Wait => {
                        let mut has_waited = false;
                        std::future::poll_fn(|_| {
                            if std::mem::replace(&mut has_waited, true) { Poll::Ready(()) } else { Poll::Pending }
                        })
                        .await;
                    }
                    _ => {}
                }
            }
            world.see(Seen::Ended(number));
        });
        self.tasks.borrow_mut().push(task.unwrap());
    }
}

// The model.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Message(usize),
    Poll(usize),
    Timer(usize),
}

#[derive(Debug)]
struct Model {
    now: u64,
    /// By due time, then by posting.
    queue: Vec<(u64, usize, Entry)>,
    posted: usize,
    messages: usize,
    tasks: Vec<Modelled>,
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Modelled {
    steps: Vec<Step>,
    at: usize,
    /// It waits in the present step, since it has begun; until this time, if it sleeps.
    waits: Option<Option<u64>>,
    is_scheduled: bool,
    was_polled: bool,
    has_ended: bool,
}

impl Model {
    fn push(&mut self, when: u64, entry: Entry) {
        self.queue.push((when, self.posted, entry));
        self.posted += 1;
    }

    fn wake(&mut self, which: usize) {
        let Some(task) = self.tasks.get_mut(which) else { return };
        // Nobody has its waker before it has run.
        if task.was_polled && !task.has_ended && !std::mem::replace(&mut task.is_scheduled, true) {
            self.push(self.now, Entry::Poll(which));
        }
    }

    fn drop_timer(&mut self, which: usize) {
        self.queue.retain(|(_, _, entry)| *entry != Entry::Timer(which));
    }

    fn cancel(&mut self, which: usize, by: Option<usize>) {
        let Some(task) = self.tasks.get_mut(which) else { return };
        if task.has_ended {
            return;
        }
        task.has_ended = true;
        let was_polled = task.was_polled;
        if !was_polled {
            self.queue.retain(|(_, _, entry)| *entry != Entry::Poll(which));
        }
        if by != Some(which) {
            self.drop_timer(which);
        }
    }

    fn act(&mut self, step: Step, by: Option<usize>) {
        match step {
            Step::Wake(which) => self.wake(which),
            Step::Cancel(which) => self.cancel(which, by),
            Step::Post => {
                let number = self.messages;
                self.messages += 1;
                self.push(self.now, Entry::Message(number));
            }
            Step::Yield | Step::Sleep(_) | Step::Wait => {}
        }
    }

    fn poll(&mut self, which: usize) {
        let task = &mut self.tasks[which];
        task.is_scheduled = false;
        if task.has_ended {
            return;
        }
        if let Some(until) = task.waits {
            if until.is_some_and(|until| until > self.now) {
                return;
            }
            (task.waits, task.at) = (None, task.at + 1);
            self.drop_timer(which);
        }
        loop {
            let task = &mut self.tasks[which];
            let Some(step) = task.steps.get(task.at).copied() else {
                task.was_polled = true;
                self.seen.push(Seen::Ended(which));
                // One that has cancelled itself in this poll has ended before.
                self.tasks[which].has_ended = true;
                return;
            };
            task.was_polled = true;
            self.seen.push(Seen::Begun { task: which, step: task.at });
            self.act(step, Some(which));
            let now = self.now;
            let task = &mut self.tasks[which];
            match step {
                Step::Yield => {
                    task.waits = Some(None);
                    self.wake(which);
                    return;
                }
                Step::Sleep(nanos) => {
                    task.waits = Some(Some(now + u64::from(nanos)));
                    let is_over = task.has_ended;
                    self.push(now + u64::from(nanos), Entry::Timer(which));
                    if is_over {
                        // It has cancelled itself, and goes when this poll ends.
                        self.drop_timer(which);
                    }
                    return;
                }
                Step::Wait => {
                    task.waits = Some(None);
                    return;
                }
                _ => task.at += 1,
            }
        }
    }

    fn run_due(&mut self) {
        loop {
            let due =
                self.queue.iter().filter(|(when, _, _)| *when <= self.now).min_by_key(|(when, seq, _)| (*when, *seq));
            let Some(next) = due.copied() else { return };
            self.queue.retain(|entry| *entry != next);
            match next.2 {
                Entry::Message(number) => self.seen.push(Seen::Message(number)),
                Entry::Poll(which) => self.poll(which),
                // One that is scheduled already is polled by that message.
                Entry::Timer(which) if self.tasks[which].is_scheduled => {}
                Entry::Timer(which) => self.poll(which),
            }
        }
    }
}

/// Runs a history on both, and compares.
fn compare(history: Vec<Op>) {
    let looper = TestLooper::new().unwrap();
    looper.allow_leftovers();
    let world = Rc::new(World::default());
    let mut model = Model { now: 0, queue: Vec::new(), posted: 0, messages: 0, tasks: Vec::new(), seen: Vec::new() };
    for op in history {
        match op {
            Op::Spawn(steps) => {
                world.spawn(&looper, steps.clone());
                let number = model.tasks.len();
                model.tasks.push(Modelled {
                    steps,
                    at: 0,
                    waits: None,
                    is_scheduled: true,
                    was_polled: false,
                    has_ended: false,
                });
                model.push(model.now, Entry::Poll(number));
            }
            Op::Do(step) => {
                world.act(&looper, step);
                model.act(step, None);
            }
            Op::Advance(nanos) => {
                looper.run_until_idle();
                model.run_due();
                for _ in 0..nanos {
                    looper.advance(Duration::from_nanos(1));
                    model.now += 1;
                    model.run_due();
                }
            }
        }
    }
    looper.run_until_idle();
    model.run_due();

    assert_eq!(*world.seen.borrow(), model.seen);
    let tasks = world.tasks.take();
    let ended: Vec<_> = tasks.iter().map(Task::is_finished).collect();
    assert_eq!(ended, model.tasks.iter().map(|task| task.has_ended).collect::<Vec<_>>());
    looper.quit();
    looper.poll_once(None).unwrap();
    for (task, modelled) in tasks.into_iter().zip(&model.tasks) {
        let told = wait_for(task);
        assert_eq!(modelled.has_ended, told != Err(TaskError::Quit), "{told:?}");
    }
    world.wakers.take().into_values().for_each(Waker::wake);
    let counts = looper.message_counts();
    assert_eq!(counts.posted, counts.run + counts.removed + counts.dropped);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a1_a2_a4_any_history_of_tasks_goes_as_a_sorted_list_says(history in vec(op(), 0..40)) {
        compare(history);
    }
}
