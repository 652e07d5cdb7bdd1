//! A view on the terminal, until a key ends it.

use std::{
    sync::mpsc::{self, Receiver, Sender, TryRecvError},
    thread,
    time::Duration,
};

use anyhow::Context;
use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout},
    style::{Style, Stylize},
    text::Line,
    widgets::{Row as Cells, Table},
};

use crate::{
    process::{Answer, Connection, Greeting},
    text,
    view::{Sort, View},
};

/// How often is looked whether there is an answer, while no key is pressed.
const PATIENCE: Duration = Duration::from_millis(50);

/// Shows what `connection` tells, and again after each `interval`.
pub(crate) fn show(mut connection: Connection, interval: Duration, sort: Sort) -> anyhow::Result<()> {
    let first = connection.look()?;
    let greeting = connection.greeting.clone();
    let (sender, answers) = mpsc::channel();
    // It waits for the program, so that the keys do not.
    thread::spawn(move || look_on(connection, interval, &sender));
    let mut terminal =
        ratatui::try_init().context("looptop shows its tables on a terminal; without one, say --once")?;
    let mut shown = Shown { greeting, before: None, after: first, sort };
    let result = shown.run(&mut terminal, &answers);
    ratatui::restore();
    result
}

fn look_on(mut connection: Connection, interval: Duration, answers: &Sender<anyhow::Result<Answer>>) {
    loop {
        thread::sleep(interval);
        let answer = connection.look();
        let is_last = answer.is_err();
        if answers.send(answer).is_err() || is_last {
            return;
        }
    }
}

struct Shown {
    greeting: Greeting,
    /// The last answer but one.
    before: Option<Answer>,
    after: Answer,
    sort: Sort,
}

impl Shown {
    fn run(
        &mut self,
        terminal: &mut DefaultTerminal,
        answers: &Receiver<anyhow::Result<Answer>>,
    ) -> anyhow::Result<()> {
        loop {
            terminal.draw(|frame| self.draw(frame))?;
            if event::poll(PATIENCE)?
                && let Event::Key(key) = event::read()?
                && self.is_end(key)
            {
                return Ok(());
            }
            match answers.try_recv() {
                Ok(answer) => self.before = Some(std::mem::replace(&mut self.after, answer?)),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Does what `key` stands for; whether that is the end.
    fn is_end(&mut self, key: KeyEvent) -> bool {
        if key.kind != KeyEventKind::Press {
            return false;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => true,
            KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                false
            }
            _ => false,
        }
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let view = View::new(self.before.as_ref().unwrap_or(&self.after), &self.after, self.sort);
        let loopers = u16::try_from(view.rows.len()).unwrap_or(u16::MAX).saturating_add(1);
        let half = frame.area().height / 2;
        let areas = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(loopers.min(half)),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ]);
        let [head, above, _, below, foot] = areas.areas(frame.area());
        frame.render_widget(Line::from(text::title(&self.greeting, &view)).bold(), head);
        let widths = [(16, 0), (20, 0), (5, 0), (7, 0), (9, 0), (8, 0), (8, 0), (20, 1)].map(width);
        frame.render_widget(table(text::LOOPERS, view.rows.iter().map(text::looper), widths), above);
        let widths = [(6, 0), (9, 0), (16, 0), (20, 1)].map(width);
        frame.render_widget(table(text::PLACES, view.places.iter().map(text::place), widths), below);
        let keys = format!("q quits, s sorts by the next column; sorted by {}", self.sort.name());
        frame.render_widget(Line::from(keys).dim(), foot);
    }
}

/// A column that is so wide, or takes what is left.
fn width((cells, is_rest): (u16, u16)) -> Constraint {
    if is_rest == 1 { Constraint::Min(cells) } else { Constraint::Length(cells) }
}

fn table<const N: usize>(
    heads: [&'static str; N],
    rows: impl Iterator<Item = [String; N]>,
    widths: [Constraint; N],
) -> Table<'static> {
    Table::new(rows.map(Cells::new), widths).header(Cells::new(heads).style(Style::new().reversed()))
}
