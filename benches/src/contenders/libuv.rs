//! libuv of the system, as its users write it: posts are a mutexed queue with a `uv_async_t`, since that alone may be
//! used from other threads; timers are `uv_timer_t`, fds `uv_poll_t`, each in an allocation of its owner with the
//! closure.

use std::{
    cell::{Cell, RefCell, UnsafeCell},
    ffi::{c_int, c_void},
    mem,
    os::fd::{AsFd, AsRawFd},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use nix::sys::eventfd::EventFd;

use super::{
    common::{
        CHURN, FLOOD, ReadyFds, await_near_delays, eventfd, eventfds, far_delays, flood, near_delays, one_core, read,
    },
    flooded::{Flooded, PERIOD},
    mixture::{FDS, Mixture, TIMERS, period},
};
use crate::{
    dice::Dice,
    heap,
    meter::{Meter, Sample, timed},
    tally::{LargeWork, Tally, Work},
    workload::Kind,
};

pub fn run(kind: Kind, meter: &Meter) -> Option<Sample> {
    Some(match kind {
        Kind::BurstCallbacks => burst(meter, |inbox, tally, value| {
            let work = Work { tally, value };
            inbox.post(Callback(Box::new(move |_| work.run())));
        }),
        Kind::LargeCallbacks => burst(meter, |inbox, tally, value| {
            let work = LargeWork::new(tally, value);
            inbox.post(Callback(Box::new(move |_| work.run())));
        }),
        Kind::BurstMessages => burst_messages(meter),
        Kind::ChainCallbacks => chain_callbacks(meter),
        Kind::ChainMessages => chain_messages(meter),
        Kind::FloodCallbacks => flood_callbacks(meter),
        Kind::FloodMessages => flood_messages(meter),
        Kind::PingPong => ping_pong(meter),
        Kind::PingPongOneCore => one_core(|| ping_pong(meter)),
        Kind::TimersInsert => timers_insert(meter),
        Kind::TimersCancel => timers_cancel(meter),
        Kind::TimersFire => timers_fire(meter),
        Kind::TimerBytes => timer_bytes(meter),
        Kind::Fds => ready_fds(meter),
        Kind::FdChurn => fd_churn(meter),
        Kind::FdBytes => fd_bytes(meter),
        Kind::Lateness => lateness(meter),
        Kind::ManyHandlers => return None,
        Kind::Mix => mix(meter),
        Kind::QuestionedChain | Kind::Watched(_) => return None,
        Kind::Flooded { bounded, .. } => return flooded(kind, meter, bounded),
        Kind::RemoteQuestion | Kind::RemoteCancel => return None,
        Kind::Made | Kind::IdleFds | Kind::IdleBytes => return super::made::libuv(kind, meter),
        Kind::ColdCallbacks => return run(Kind::BurstCallbacks, &meter.cold()),
        Kind::BurstHeap => burst_memory(meter, heap::growth),
        Kind::BurstResident => burst_memory(meter, heap::resident_growth),
        Kind::TaskWakes | Kind::TaskSpawns | Kind::TaskPair => return None,
        Kind::BusyChain => return run(Kind::ChainCallbacks, meter),
        Kind::BusyBurst => return run(Kind::BurstCallbacks, meter),
        Kind::BusyRemote => busy_remote(meter),
    })
}

/// The library's functions, and its handles as memory of their size.
mod sys {
    use std::{
        ffi::{c_int, c_void},
        ptr,
    };

    /// A handle of libuv: `data` is its first member, the rest is its own.
    #[repr(C)]
    pub struct Handle<const WORDS: usize> {
        pub data: *mut c_void,
        own: [usize; WORDS],
    }

    impl<const WORDS: usize> Handle<WORDS> {
        pub const fn zeroed() -> Self {
            Handle { data: ptr::null_mut(), own: [0; WORDS] }
        }
    }

    // What version 1 has on 64-bit Linux: checked when a loop is made.
    pub type Loop = Handle<105>;
    pub type Async = Handle<15>;
    pub type Timer = Handle<18>;
    pub type Poll = Handle<19>;

    /// Of `uv_handle_type`.
    pub const ASYNC: c_int = 1;
    pub const POLL: c_int = 8;
    pub const TIMER: c_int = 13;
    /// Of `uv_run_mode`.
    pub const RUN_ONCE: c_int = 1;
    pub const RUN_NOWAIT: c_int = 2;
    /// Of `uv_poll_event`.
    pub const READABLE: c_int = 1;

    pub type Close = unsafe extern "C" fn(*mut c_void);

    // Linked by the build script.
    unsafe extern "C" {
        pub fn uv_loop_size() -> usize;
        pub fn uv_handle_size(kind: c_int) -> usize;
        pub fn uv_loop_init(event_loop: *mut Loop) -> c_int;
        pub fn uv_loop_close(event_loop: *mut Loop) -> c_int;
        pub fn uv_run(event_loop: *mut Loop, mode: c_int) -> c_int;
        pub fn uv_update_time(event_loop: *mut Loop);
        pub fn uv_is_active(handle: *const c_void) -> c_int;
        pub fn uv_close(handle: *mut c_void, close: Option<Close>);
        pub fn uv_async_init(
            event_loop: *mut Loop,
            handle: *mut Async,
            callback: unsafe extern "C" fn(*mut Async),
        ) -> c_int;
        pub fn uv_async_send(handle: *mut Async) -> c_int;
        pub fn uv_timer_init(event_loop: *mut Loop, handle: *mut Timer) -> c_int;
        pub fn uv_timer_start(
            handle: *mut Timer,
            callback: unsafe extern "C" fn(*mut Timer),
            timeout: u64,
            repeat: u64,
        ) -> c_int;
        pub fn uv_poll_init(event_loop: *mut Loop, handle: *mut Poll, fd: c_int) -> c_int;
        pub fn uv_poll_start(
            handle: *mut Poll,
            events: c_int,
            callback: unsafe extern "C" fn(*mut Poll, c_int, c_int),
        ) -> c_int;
    }
}

/// A loop. Never closed: the process ends with its measurement, and those of the other threads are few.
#[derive(Clone, Copy)]
struct Loop(*mut sys::Loop);

impl Loop {
    fn new() -> Loop {
        let own = Box::into_raw(Box::new(sys::Loop::zeroed()));
        // SAFETY: these only tell sizes.
        let sizes = unsafe {
            let handles = [sys::ASYNC, sys::TIMER, sys::POLL].map(|kind| sys::uv_handle_size(kind));
            [sys::uv_loop_size()].into_iter().chain(handles)
        };
        let expected =
            [size_of::<sys::Loop>(), size_of::<sys::Async>(), size_of::<sys::Timer>(), size_of::<sys::Poll>()];
        assert!(sizes.eq(expected), "this libuv's handles have other sizes");
        // SAFETY: the memory is the loop's, and is never freed.
        assert_eq!(unsafe { sys::uv_loop_init(own) }, 0);
        Loop(own)
    }

    fn turn(self, mode: c_int) {
        // SAFETY: the loop lives, and is only used by the thread that made it.
        unsafe { sys::uv_run(self.0, mode) };
    }

    fn drain(self, tally: &Tally, count: u64) {
        while tally.count() < count {
            self.turn(sys::RUN_NOWAIT);
        }
    }

    fn await_all(self, tally: &Tally, count: u64) {
        while tally.count() < count {
            self.turn(sys::RUN_ONCE);
        }
    }
}

/// A queue that any thread may post to; the loop's thread swaps it out when the async handle fires.
struct Inbox<T> {
    queue: Mutex<Vec<T>>,
    wake: UnsafeCell<sys::Async>,
}

// SAFETY: after it was made, other threads give the handle to `uv_async_send` alone, which they may.
unsafe impl<T: Send> Send for Inbox<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Inbox<T> {}

/// What the async handle's data points to.
struct Receiver<T> {
    inbox: Arc<Inbox<T>>,
    batch: Vec<T>,
    run: Box<dyn FnMut(T)>,
}

impl<T: Send + 'static> Inbox<T> {
    /// Adds an inbox to a loop, for ever.
    fn new(event_loop: Loop, run: impl FnMut(T) + 'static) -> Arc<Inbox<T>> {
        let inbox = Arc::new(Inbox { queue: Mutex::default(), wake: UnsafeCell::new(sys::Async::zeroed()) });
        let receiver = Receiver { inbox: inbox.clone(), batch: Vec::new(), run: Box::new(run) };
        let wake = inbox.wake.get();
        // SAFETY: no one else has the inbox yet, and the receiver keeps it for ever.
        unsafe {
            assert_eq!(sys::uv_async_init(event_loop.0, wake, on_async::<T>), 0);
            (*wake).data = Box::into_raw(Box::new(receiver)).cast();
        }
        inbox
    }

    fn post(&self, item: T) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(item);
        // SAFETY: the handle is never closed; this function is for all threads.
        unsafe { sys::uv_async_send(self.wake.get()) };
    }
}

unsafe extern "C" fn on_async<T>(wake: *mut sys::Async) {
    // SAFETY: the data is the receiver, which only this callback uses, and which never ends.
    let receiver = unsafe { &mut *(*wake).data.cast::<Receiver<T>>() };
    mem::swap(&mut *receiver.inbox.queue.lock().unwrap_or_else(PoisonError::into_inner), &mut receiver.batch);
    receiver.batch.drain(..).for_each(&mut receiver.run);
}

/// A posted closure, which may post.
struct Callback(Box<Posted>);

type Posted = dyn FnOnce(&Inbox<Callback>) + Send;

/// A loop that runs the closures that are posted to it.
fn callbacks() -> (Loop, Arc<Inbox<Callback>>) {
    let event_loop = Loop::new();
    let own = Rc::new(RefCell::new(None::<Arc<Inbox<Callback>>>));
    let known = own.clone();
    let inbox = Inbox::new(event_loop, move |Callback(callback)| {
        callback(known.borrow().as_ref().expect("it is told before it runs"));
    });
    *own.borrow_mut() = Some(inbox.clone());
    (event_loop, inbox)
}

fn burst(meter: &Meter, post: impl Fn(&Inbox<Callback>, &'static Tally, u64)) -> Sample {
    let tally = Tally::leak();
    let (event_loop, inbox) = callbacks();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for value in 0..count {
                post(&inbox, tally, value);
            }
            event_loop.drain(tally, count);
        });
        tally.settle_below(took, count)
    })
}

fn burst_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let event_loop = Loop::new();
    let inbox = Inbox::new(event_loop, |value| tally.add(value));
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            for value in 0..count {
                inbox.post(value);
            }
            event_loop.drain(tally, count);
        });
        tally.settle_below(took, count)
    })
}

fn hop(work: Work, inbox: &Inbox<Callback>) {
    work.run();
    if let Some(value) = work.value.checked_sub(1) {
        inbox.post(Callback(Box::new(move |inbox| hop(Work { value, ..work }, inbox))));
    }
}

fn chain_callbacks(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let (event_loop, inbox) = callbacks();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            let first = Work { tally, value: count - 1 };
            inbox.post(Callback(Box::new(move |inbox| hop(first, inbox))));
            event_loop.drain(tally, count);
        });
        tally.settle_below(took, count)
    })
}

/// An inbox that is known later than what posts to it.
type Later = Rc<RefCell<Option<Arc<Inbox<u64>>>>>;

/// A loop whose handler adds to the tally, and sends the next smaller number to the inbox that it is told.
fn counting_down(tally: &'static Tally) -> (Loop, Arc<Inbox<u64>>, Later) {
    let event_loop = Loop::new();
    let next = Later::default();
    let known = next.clone();
    let inbox = Inbox::new(event_loop, move |value: u64| {
        tally.add(value);
        if let (Some(value), Some(next)) = (value.checked_sub(1), &*known.borrow()) {
            next.post(value);
        }
    });
    (event_loop, inbox, next)
}

fn chain_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let (event_loop, inbox, next) = counting_down(tally);
    *next.borrow_mut() = Some(inbox.clone());
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let took = timed(|| {
            inbox.post(count - 1);
            event_loop.drain(tally, count);
        });
        tally.settle_below(took, count)
    })
}

fn flood_callbacks(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let (event_loop, inbox) = callbacks();
    let post = |value| {
        let work = Work { tally, value };
        inbox.post(Callback(Box::new(move |_| work.run())));
    };
    meter
        .repeat(meter.size * FLOOD, || flood(vec![post; meter.size], tally, |count| event_loop.await_all(tally, count)))
}

fn flood_messages(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let event_loop = Loop::new();
    let inbox = Inbox::new(event_loop, |value| tally.add(value));
    let post = |value: u64| inbox.post(value);
    meter
        .repeat(meter.size * FLOOD, || flood(vec![post; meter.size], tally, |count| event_loop.await_all(tally, count)))
}

fn ping_pong(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let (near, inbox, next) = counting_down(tally);
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let (to_near, from_far) = mpsc::channel();
        let back = inbox.clone();
        let echo = thread::spawn(move || {
            let far = Loop::new();
            let last = Rc::new(Cell::new(count));
            let seen = last.clone();
            let inbox = Inbox::new(far, move |value: u64| {
                seen.set(value);
                back.post(value);
            });
            to_near.send(inbox).expect("the other thread waits");
            while last.get() > 0 {
                far.turn(sys::RUN_ONCE);
            }
        });
        let forth = from_far.recv().expect("the other thread has a loop");
        *next.borrow_mut() = Some(forth.clone());
        let took = timed(|| {
            forth.post(count - 1);
            near.await_all(tally, count);
        });
        echo.join().expect("the other thread does not panic");
        tally.settle_below(took, count)
    })
}

fn busy_remote(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let (event_loop, inbox) = callbacks();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let work = move |inbox: &Inbox<Callback>| {
            let post = |value| {
                let work = Work { tally, value };
                inbox.post(Callback(Box::new(move |_| work.run())));
            };
            thread::scope(|scope| drop(scope.spawn(|| (0..count).for_each(post)).join()));
        };
        let took = timed(|| {
            inbox.post(Callback(Box::new(work)));
            event_loop.await_all(tally, count);
        });
        tally.settle_below(took, count)
    })
}

/// A handle with what it calls, in one allocation that libuv gives back when the handle is closed.
#[repr(C)]
struct Owned<H, F> {
    /// First, so that a pointer to it is one to the whole.
    handle: H,
    call: F,
}

impl<H, F> Owned<H, F> {
    /// # Safety
    /// `own` is a handle that was started and not closed.
    unsafe fn close(own: *mut Self) {
        unsafe extern "C" fn free<H, F>(handle: *mut c_void) {
            // SAFETY: it was made by `Box::into_raw`, and libuv no longer uses it.
            drop(unsafe { Box::from_raw(handle.cast::<Owned<H, F>>()) });
        }
        // SAFETY: the caller's.
        unsafe { sys::uv_close(own.cast(), Some(free::<H, F>)) };
    }
}

type Timer<F> = Owned<sys::Timer, F>;
type Poll<F> = Owned<sys::Poll, F>;

/// Starts a timer. Milliseconds are counted from the loop's time, which is that of its last turn unless asked to look.
fn start<F: FnMut()>(event_loop: Loop, after: u64, repeat: u64, call: F) -> *mut Timer<F> {
    unsafe extern "C" fn fire<F: FnMut()>(handle: *mut sys::Timer) {
        let own = handle.cast::<Timer<F>>();
        // SAFETY: the handle is the first member of what `start` made; one that has ended is closed.
        unsafe {
            ((*own).call)();
            if sys::uv_is_active(own.cast()) == 0 {
                Owned::close(own);
            }
        }
    }

    let own = Box::into_raw(Box::new(Timer { handle: sys::Timer::zeroed(), call }));
    // SAFETY: the memory stays until the handle is closed.
    unsafe {
        assert_eq!(sys::uv_timer_init(event_loop.0, own.cast()), 0);
        assert_eq!(sys::uv_timer_start(own.cast(), fire::<F>, after, repeat), 0);
    }
    own
}

/// Inserts a timer that counts from now.
fn insert(event_loop: Loop, delay: Duration, work: Work) -> *mut Timer<impl FnMut()> {
    // SAFETY: the loop lives.
    unsafe { sys::uv_update_time(event_loop.0) };
    start(event_loop, delay.as_millis() as u64, 0, move || work.run())
}

fn insert_all(event_loop: Loop, delays: &[Duration], tally: &'static Tally) -> Vec<*mut Timer<impl FnMut()>> {
    let timers = delays.iter().enumerate().map(|(value, delay)| {
        let work = Work { tally, value: value as u64 };
        insert(event_loop, *delay, work)
    });
    timers.collect()
}

/// Counts those that were pending. The memory is given back in the loop's next turn, which belongs to it.
fn cancel_all<F>(event_loop: Loop, timers: &mut Vec<*mut Timer<F>>, tally: &Tally) {
    for (value, timer) in timers.drain(..).enumerate() {
        // SAFETY: the timer is not due, so that it was neither fired nor closed.
        unsafe {
            if sys::uv_is_active(timer.cast()) != 0 {
                tally.add(value as u64);
            }
            Owned::close(timer);
        }
    }
    event_loop.turn(sys::RUN_NOWAIT);
}

fn timers_insert(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let event_loop = Loop::new();
    meter.repeat(meter.size, || {
        let mut timers = Vec::new();
        let took = timed(|| timers = insert_all(event_loop, &delays, tally));
        cancel_all(event_loop, &mut timers, tally);
        tally.settle_below(took, meter.size as u64)
    })
}

fn timers_cancel(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let event_loop = Loop::new();
    meter.repeat(meter.size, || {
        let mut timers = insert_all(event_loop, &delays, tally);
        Dice::new().shuffle(&mut timers);
        let took = timed(|| cancel_all(event_loop, &mut timers, tally));
        tally.settle_below(took, meter.size as u64)
    })
}

fn timers_fire(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let due = meter.due();
    let delays = near_delays(meter.size, &due);
    let event_loop = Loop::new();
    let count = meter.size as u64;
    meter.repeat(meter.size, || {
        let begin = Instant::now();
        // SAFETY: the loop lives.
        unsafe { sys::uv_update_time(event_loop.0) };
        for (value, delay) in delays.iter().enumerate() {
            let work = Work { tally, value: value as u64 };
            start(event_loop, delay.as_millis() as u64 + 1, 0, move || work.run());
        }
        await_near_delays(begin, &due, tally);
        let took = timed(|| event_loop.drain(tally, count));
        tally.settle_below(took, count)
    })
}

fn timer_bytes(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delays = far_delays(meter.size);
    let event_loop = Loop::new();
    let bytes = heap::growth(&mut || {
        for (value, delay) in delays.iter().enumerate() {
            insert(event_loop, *delay, Work { tally, value: value as u64 });
        }
    });
    Sample::of(bytes / meter.size as f64, meter.size)
}

/// Starts to watch an fd, level-triggered. The loop tells epoll in its next turn.
fn watch<T: AsFd, F: FnMut(&T)>(event_loop: Loop, fd: T, mut callback: F) -> *mut Poll<impl FnMut()> {
    let number = fd.as_fd().as_raw_fd();
    poll(event_loop, number, move || callback(&fd))
}

fn poll<F: FnMut()>(event_loop: Loop, fd: c_int, call: F) -> *mut Poll<F> {
    unsafe extern "C" fn serve<F: FnMut()>(handle: *mut sys::Poll, status: c_int, _: c_int) {
        assert_eq!(status, 0);
        // SAFETY: the handle is the first member of what `poll` made.
        unsafe { ((*handle.cast::<Poll<F>>()).call)() };
    }

    let own = Box::into_raw(Box::new(Poll { handle: sys::Poll::zeroed(), call }));
    // SAFETY: the memory stays until the handle is closed, and the fd is owned by the closure in it.
    unsafe {
        assert_eq!(sys::uv_poll_init(event_loop.0, own.cast(), fd), 0);
        assert_eq!(sys::uv_poll_start(own.cast(), sys::READABLE, serve::<F>), 0);
    }
    own
}

fn counting(event_loop: Loop, fd: &Rc<EventFd>, work: Work) -> *mut Poll<impl FnMut()> {
    watch(event_loop, fd.clone(), move |fd: &Rc<EventFd>| {
        read(fd);
        work.run();
    })
}

fn ready_fds(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let ready = ReadyFds::new(meter.size);
    let event_loop = Loop::new();
    for (value, fd) in ready.fds.iter().enumerate() {
        counting(event_loop, fd, Work { tally, value: value as u64 });
    }
    ready.measure(meter, tally, |count| event_loop.await_all(tally, count))
}

/// The loop takes a turn with each fd, since it does not tell epoll of one that is removed before.
fn fd_churn(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let others = eventfds(meter.size);
    let event_loop = Loop::new();
    for fd in &others {
        counting(event_loop, fd, Work { tally, value: 0 });
    }
    let fd = eventfd();
    meter.repeat(CHURN, || {
        let took = timed(|| {
            for _ in 0..CHURN {
                let poll = counting(event_loop, &fd, Work { tally, value: 1 });
                event_loop.turn(sys::RUN_NOWAIT);
                // SAFETY: it was not closed yet.
                unsafe { Owned::close(poll) };
            }
        });
        let poll = counting(event_loop, &fd, Work { tally, value: 1 });
        fd.write(1).expect("an eventfd is written");
        event_loop.await_all(tally, 1);
        // SAFETY: it was not closed yet.
        unsafe { Owned::close(poll) };
        tally.settle(took, 1, 1)
    })
}

fn fd_bytes(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let sources = eventfds(meter.size);
    let event_loop = Loop::new();
    let bytes = heap::growth(&mut || {
        for (value, fd) in sources.iter().enumerate() {
            counting(event_loop, fd, Work { tally, value: value as u64 });
        }
    });
    Sample::of(bytes / meter.size as f64, meter.size)
}

/// One millisecond more than is wanted: it drops the fraction of now, and would be early otherwise.
fn lateness(meter: &Meter) -> Sample {
    let tally = Tally::leak();
    let delay = Duration::from_micros(meter.size as u64);
    let event_loop = Loop::new();
    let late = Rc::new(Cell::new(Duration::ZERO));
    meter.repeat(1, || {
        let deadline = Instant::now() + delay;
        let seen = late.clone();
        // SAFETY: the loop lives.
        unsafe { sys::uv_update_time(event_loop.0) };
        let after = delay.as_micros().div_ceil(1000) as u64 + 1;
        start(event_loop, after, 0, move || {
            seen.set(Instant::now().checked_duration_since(deadline).expect("never early"));
            tally.add(0);
        });
        event_loop.await_all(tally, 1);
        tally.settle(late.get(), 1, 0)
    })
}

fn mix(meter: &Meter) -> Sample {
    let mixture = Mixture::leak(meter.size);
    let (event_loop, inbox) = callbacks();
    for index in 0..TIMERS {
        let period = period(index).as_millis() as u64;
        start(event_loop, period, period, || mixture.fire());
    }
    for index in 0..FDS {
        watch(event_loop, mixture.fd(index), move |_| mixture.serve(index));
    }
    let post = || |value| inbox.post(Callback(Box::new(move |_| mixture.close(value))));
    mixture.measure(meter, post, || event_loop.turn(sys::RUN_ONCE))
}

fn burst_memory(meter: &Meter, growth: fn(&mut dyn FnMut()) -> f64) -> Sample {
    let tally = Tally::leak();
    let (event_loop, inbox) = callbacks();
    let count = meter.size as u64;
    let value = growth(&mut || {
        for value in 0..count {
            let work = Work { tally, value };
            inbox.post(Callback(Box::new(move |_| work.run())));
        }
        event_loop.drain(tally, count);
    });
    tally.settle_below(Duration::ZERO, count);
    Sample::of(value, meter.size)
}

/// A loop that is closed when it is dropped.
pub struct Made(Loop);

impl Drop for Made {
    fn drop(&mut self) {
        // SAFETY: it has no handles, and nobody else has it; its memory is that of the box that it was made in.
        unsafe {
            assert_eq!(sys::uv_loop_close(self.0.0), 0);
            drop(Box::from_raw(self.0.0));
        }
    }
}

/// A loop that has looked once whether there is anything to do.
pub fn made() -> Made {
    let event_loop = Loop::new();
    event_loop.turn(sys::RUN_NOWAIT);
    Made(event_loop)
}

/// Its timer counts milliseconds from the loop's time, and is a millisecond later than it is set so that it is never
/// early. It has no queue that is bounded.
fn flooded(kind: Kind, meter: &Meter, bounded: bool) -> Option<Sample> {
    if bounded {
        return None;
    }
    let flooded = Flooded::leak();
    let (event_loop, inbox) = callbacks();
    watch(event_loop, flooded.fd.as_fd(), |_| flooded.serve());
    let deadline = Cell::new(Instant::now() + PERIOD);
    let period = PERIOD.as_millis() as u64;
    start(event_loop, period, period, move || deadline.set(flooded.fire(deadline.get())));
    let post = || {
        |value| {
            let work = flooded.work(value);
            inbox.post(Callback(Box::new(move |_| work.run())));
        }
    };
    flooded.measure(kind, meter, post, || event_loop.turn(sys::RUN_ONCE))
}
