//! A view as plain text, in columns.

use std::fmt::Write;

use crate::{
    process::Greeting,
    view::{PlaceRow, Row, View, short},
};

/// The heads of the columns.
pub(crate) const LOOPERS: [&str; 8] = ["LOOPER", "THREAD", "LOAD", "QUEUE", "LATE", "MSG/S", "FD/S", "RUNS NOW"];
pub(crate) const PLACES: [&str; 4] = ["SHARE", "LONGEST", "LOOPER", "PLACE"];

/// The columns of a looper.
pub(crate) fn looper(row: &Row) -> [String; 8] {
    let thread = row.looper.thread_name.as_deref().map_or("gone", |name| name);
    let late = if row.late.is_zero() { "-".to_owned() } else { short(row.late) };
    [
        row.name.clone(),
        format!("{} {thread}", row.looper.thread),
        percent(row.load),
        row.looper.pending.to_string(),
        late,
        format!("{:.0}", row.rate),
        format!("{:.0}", row.fd_rate),
        row.now(),
    ]
}

/// The columns of a place.
pub(crate) fn place(row: &PlaceRow) -> [String; 4] {
    [percent(row.share), short(row.longest), row.looper.clone(), row.what.clone()]
}

pub(crate) fn title(greeting: &Greeting, view: &View) -> String {
    let Greeting { program, process, .. } = greeting;
    format!("{program} {process}, {} loopers", view.rows.len())
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// The whole view.
pub(crate) fn page(greeting: &Greeting, view: &View) -> String {
    let mut page = format!("{}\n\n", title(greeting, view));
    let loopers: Vec<_> = view.rows.iter().map(looper).collect();
    write_columns(&mut page, LOOPERS, &loopers);
    page.push_str("\nWhere the time goes:\n");
    let places: Vec<_> = view.places.iter().map(place).collect();
    write_columns(&mut page, PLACES, &places);
    page
}

fn write_columns<const N: usize>(page: &mut String, heads: [&str; N], rows: &[[String; N]]) {
    let heads = heads.map(str::to_owned);
    let width = |column: usize| rows.iter().chain([&heads]).map(|row| row[column].chars().count()).max().unwrap_or(0);
    for row in [&heads].into_iter().chain(rows) {
        let mut line = String::new();
        for (column, text) in row.iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(line, "{text:<width$}  ", width = width(column));
        }
        page.push_str(line.trim_end());
        page.push('\n');
    }
}
