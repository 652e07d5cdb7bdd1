//! The headers: C and C++ of all ages take them, and they say what the library has.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use alooper_ndk::*;

use crate::support::skipped;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The functions that a header declares: the names before an opening bracket that are ours.
fn declared(header: &str) -> BTreeSet<String> {
    let mut text = String::new();
    let mut rest = header;
    while let Some((code, comment)) = rest.split_once("/*") {
        text.push_str(code);
        rest = comment.split_once("*/").unwrap().1;
    }
    text.push_str(rest);
    let names = text.split('(').filter_map(|before| before.rsplit([' ', '*', '\n']).next());
    // A type of functions ends with a bracket here.
    let is_ours = |name: &&str| (name.starts_with("ALooper_") || name.starts_with("alooper_")) && !name.ends_with(')');
    names.filter(is_ours).map(str::to_owned).collect()
}

/// The functions that a file of the library exports.
fn exported(source: &str) -> BTreeSet<String> {
    let after = read(source);
    let after = after.split("#[unsafe(no_mangle)]").skip(1);
    let names = after.map(|text| text.split_once(" fn ").unwrap().1.split('(').next().unwrap().to_owned());
    names.collect()
}

#[test]
fn the_headers_declare_what_the_library_exports() {
    let (ndk, extension) = (declared(&read("include/android/looper.h")), declared(&read("include/alooper.h")));

    assert_eq!(ndk, exported("src/functions.rs"));
    assert_eq!(ndk.len(), 9);
    assert_eq!(extension, exported("src/extension.rs"));
    assert_eq!(extension.len(), 9);
}

/// The numbers are the NDK's: those that the crate `ndk-sys` has been made with.
#[test]
fn the_constants_have_the_ndks_numbers_in_rust_and_in_c() {
    let constants = [
        ("ALOOPER_PREPARE_ALLOW_NON_CALLBACKS", ALOOPER_PREPARE_ALLOW_NON_CALLBACKS, 1),
        ("ALOOPER_POLL_WAKE", ALOOPER_POLL_WAKE, -1),
        ("ALOOPER_POLL_CALLBACK", ALOOPER_POLL_CALLBACK, -2),
        ("ALOOPER_POLL_TIMEOUT", ALOOPER_POLL_TIMEOUT, -3),
        ("ALOOPER_POLL_ERROR", ALOOPER_POLL_ERROR, -4),
        ("ALOOPER_EVENT_INPUT", ALOOPER_EVENT_INPUT, 1),
        ("ALOOPER_EVENT_OUTPUT", ALOOPER_EVENT_OUTPUT, 2),
        ("ALOOPER_EVENT_ERROR", ALOOPER_EVENT_ERROR, 4),
        ("ALOOPER_EVENT_HANGUP", ALOOPER_EVENT_HANGUP, 8),
        ("ALOOPER_EVENT_INVALID", ALOOPER_EVENT_INVALID, 16),
    ];
    let mut code = String::from("#include <android/looper.h>\n#include <alooper.h>\n");
    for (name, ours, number) in constants {
        assert_eq!(ours, number, "{name}");
        code.push_str(&format!("typedef char {name}_is[{name} == ({number}) ? 1 : -1];\n"));
    }
    let in_header = read("include/android/looper.h").matches("    ALOOPER_").count();
    assert_eq!(in_header, constants.len());

    for (language, standard) in [("c", "c99"), ("c", "c17"), ("c++", "c++11"), ("c++", "c++20")] {
        let mut compiler = Command::new(if language == "c" { "cc" } else { "c++" });
        compiler.args(["-fsyntax-only", "-Wall", "-Wextra", "-pedantic", "-Werror", "-x", language]);
        compiler.arg(format!("-std={standard}")).arg("-I").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"));
        let Ok(mut child) = compiler.arg("-").stdin(Stdio::piped()).spawn() else {
            skipped(&format!("there is no compiler for {language}"));
            continue;
        };
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), code.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{standard}");
    }
}
