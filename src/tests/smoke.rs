use super::*;
use std::{cell::RefCell, rc::Rc};

#[test]
fn smoke() {
    let (looper, _kernel) = fake();
    let log = Rc::new(RefCell::new(Vec::new()));
    for (name, delay) in [("b", 20), ("a", 10), ("c", 30)] {
        let log = log.clone();
        let start = looper.now();
        looper.post_delayed(ms(delay), move |l| log.borrow_mut().push((name, l.now() - start))).unwrap();
    }
    let h = looper.handle();
    looper.post_delayed(ms(50), move |_| h.quit()).unwrap();
    let report = looper.run().unwrap();
    assert_eq!(*log.borrow(), [("a", ms(10)), ("b", ms(20)), ("c", ms(30))]);
    assert_eq!(report.run, 4);
}
