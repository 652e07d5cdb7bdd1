//! R4.
use alooper::{Handler, Looper, Token};

use crate::support::watched;

#[test]
fn r4_a_message_with_a_token_that_has_run_is_not_found_by_its_token() {
    watched(|| {
        let looper = Looper::new().unwrap();
        let handler = Handler::new(&looper, |_, ()| ());
        let token = Token::new();
        assert!(!handler.has(token));
        assert!(!handler.has((7, token)));
        handler.message(()).what(7).token(token).send().unwrap();
        assert_eq!(looper.poll_once(None).unwrap().messages, 1);
        assert!(!handler.has(token));
        assert!(!handler.has((7, token)));
        assert_eq!(handler.remove(token), 0);
    });
}
