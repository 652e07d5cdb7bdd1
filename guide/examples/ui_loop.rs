//! cargo run -p alooper-guide --example ui_loop
//!
//! docs/guide/how-to/ui-loop.md: one thread that draws and answers the user, and a worker for what takes long.

use std::{cell::RefCell, fmt, io, rc::Rc};

use alooper::{Handler, HandlerThread, Looper};

// [messages]
/// What the user does, and what the worker reports.
enum Event {
    /// The worker presents itself.
    Worker(Handler<Look>),
    Key(char),
    Search,
    Cancel,
    Close,
    Looked {
        search: u32,
        page: u32,
        hits: usize,
    },
}

/// What the worker is told to do: one page, so that it can be stopped between two.
struct Look {
    search: u32,
    page: u32,
    word: String,
}
// [/messages]

const PAGES: u32 = 10;

// [screen]
/// Shows the newest picture, and draws no other.
struct Screen {
    picture: Rc<RefCell<String>>,
    draw: Handler<()>,
}

impl Screen {
    fn new(looper: &Looper) -> Screen {
        let picture = Rc::new(RefCell::new(String::new()));
        let newest = picture.clone();
        let draw = Handler::new(looper, move |_, ()| println!("draws {}", newest.borrow()));
        Screen { picture, draw }
    }

    fn show(&self, picture: String) {
        self.picture.replace(picture);
        // What is waiting to be drawn will draw this one.
        if self.draw.is_empty() {
            // Refused only if the looper has quit.
            let _ = self.draw.send(());
        }
    }
}
// [/screen]

struct Ui {
    screen: Screen,
    worker: Option<Handler<Look>>,
    word: String,
    /// The number of the present search, or of the last one.
    search: u32,
    status: Status,
}

enum Status {
    Ready,
    Searching { page: u32, hits: usize },
    Cancelled { page: u32 },
}

impl Ui {
    fn new(screen: Screen) -> Ui {
        Ui { screen, worker: None, word: String::new(), search: 0, status: Status::Ready }
    }

    // [handle]
    fn handle(&mut self, looper: &Looper, event: Event) {
        let mut next = None;
        match event {
            Event::Worker(worker) => self.worker = Some(worker),
            Event::Key(key) => self.word.push(key),
            Event::Search => {
                self.search += 1;
                self.status = Status::Searching { page: 0, hits: 0 };
                next = Some(1);
            }
            Event::Cancel => {
                if let Status::Searching { page, .. } = self.status {
                    self.status = Status::Cancelled { page };
                }
            }
            Event::Close => looper.quit_safely(),
            Event::Looked { search, page, hits } => match &mut self.status {
                Status::Searching { page: last, hits: sum } if search == self.search => {
                    (*last, *sum) = (page, *sum + hits);
                    next = (page < PAGES).then_some(page + 1);
                }
                // It was under way when the user cancelled or began another search: too late.
                _ => return,
            },
        }
        self.screen.show(self.to_string());
        if let (Some(page), Some(worker)) = (next, &self.worker) {
            // Refused only if the worker has quit.
            let _ = worker.send(Look { search: self.search, page, word: self.word.clone() });
        }
    }
    // [/handle]
}

impl fmt::Display for Ui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] ", self.word)?;
        match self.status {
            Status::Ready => write!(f, "ready"),
            Status::Searching { page, hits } => write!(f, "page {page} of {PAGES}: {hits} found"),
            Status::Cancelled { page } => write!(f, "cancelled after page {page}"),
        }
    }
}

fn main() -> io::Result<()> {
    // [main]
    let looper = Looper::prepare_main()?;
    let mut ui = Ui::new(Screen::new(&looper));
    let events = Handler::new(&looper, move |looper, event| ui.handle(looper, event));

    let thread = HandlerThread::spawn("worker")?;
    let report = events.clone();
    let worker = thread.handle().handler(move |looper, Look { search, page, word }: Look| {
        let hits = look_at(looper, page, &word, &report);
        // Refused only if the user interface is gone: then nobody wants to know.
        let _ = report.send(Event::Looked { search, page, hits });
    })?;
    events.send(Event::Worker(worker))?;
    // [/main]

    // The user types a word, all at once, and begins to search.
    for key in "loop".chars() {
        events.send(Event::Key(key))?;
    }
    events.send(Event::Search)?;
    looper.run()?;
    thread.quit();
    thread.join()?;
    Ok(())
}

/// Takes long, in a program that is not made for showing.
fn look_at(looper: &Looper, page: u32, word: &str, user: &Handler<Event>) -> usize {
    if page == 4 {
        // Just now the user cancels; and closes the window when this page has been reported.
        let _ = user.send(Event::Cancel);
        let user = user.clone();
        let _ = looper.post(move |_| drop(user.send(Event::Close)));
    }
    if page.is_multiple_of(2) { word.len() } else { 1 }
}
