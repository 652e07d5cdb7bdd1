//! Faults that are planted on purpose, to see that the accounting finds them.

use std::sync::atomic::{AtomicU8, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    None,
    Lose,
    Duplicate,
    Reorder,
    Early,
    Corrupt,
    Miscount,
    FdEvent,
    Source,
    Fd,
    Memory,
    Wake,
    Hang,
}

const FAULTS: [(&str, Fault); 12] = [
    ("lose", Fault::Lose),
    ("duplicate", Fault::Duplicate),
    ("reorder", Fault::Reorder),
    ("early", Fault::Early),
    ("corrupt", Fault::Corrupt),
    ("miscount", Fault::Miscount),
    ("fd-event", Fault::FdEvent),
    ("source", Fault::Source),
    ("fd", Fault::Fd),
    ("memory", Fault::Memory),
    ("wake", Fault::Wake),
    ("hang", Fault::Hang),
];

/// The fault that was asked for and has not been committed yet.
static PLANTED: AtomicU8 = AtomicU8::new(Fault::None as u8);

pub fn plant(name: &str) -> Result<(), String> {
    let (_, fault) = FAULTS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
        let names: Vec<_> = FAULTS.iter().map(|(name, _)| *name).collect();
        format!("there is no fault {name}: there are {}", names.join(", "))
    })?;
    PLANTED.store(*fault as u8, Ordering::Relaxed);
    Ok(())
}

/// Whether to commit `fault` now: once, if it was asked for.
pub fn is_due(fault: Fault) -> bool {
    PLANTED.load(Ordering::Relaxed) == fault as u8
        && PLANTED.compare_exchange(fault as u8, Fault::None as u8, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

/// It could not be committed: another one has to.
pub fn again(fault: Fault) {
    PLANTED.store(fault as u8, Ordering::Relaxed);
}
