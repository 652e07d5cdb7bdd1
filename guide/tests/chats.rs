//! The chats of docs/guide/how-to/tasks.md do the same: what is said is heard by all others, once.

use std::{env, path::Path, process::Command};

/// F1, F5, A1, A3, A4, G1: with few clients. The load itself checks what each hears, and how the servers end.
#[test]
fn all_chats_serve_the_clients_of_the_load() {
    let test = env::current_exe().unwrap();
    let load = test.parent().and_then(Path::parent).unwrap().join("examples/chat_load");
    assert!(load.exists(), "run `cargo build -p alooper-guide --examples`");

    let output = Command::new(load).args(["23", "1"]).output().unwrap();

    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for name in ["chat_callbacks", "chat_calloop", "chat_tasks", "chat_tokio"] {
        assert!(said.lines().any(|line| line.starts_with(name) && line.contains(" ms ")), "{said}");
    }
}
