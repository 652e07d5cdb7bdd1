//! Programs in C and C++, each linked with the static and with the shared library, on its own, under valgrind, and with
//! gcc's AddressSanitizer.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::support::skipped;

const GAME: &str = "touches 3, readings 4, screenshots 1\n";
const THROWS: &str = "thrown 1, drained 1, counted 1\n";
const LATER: &str = "\
what was cancelled will not run
now
posted by another thread
after 1 unit
at 2 units
what is due much later will not run
the end
";

/// What the linker needs besides the static library, as `rustc --print native-static-libs` says.
const NATIVE: [&str; 6] = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Static,
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Under {
    Nothing,
    Valgrind,
    AddressSanitizer,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo has put the libraries: beside this test.
fn libraries() -> PathBuf {
    env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (printed, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{printed}\n{complaint}", output.status);
    output
}

fn exists(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Builds a program of `clients/`.
fn build(source: &str, link: Link, under: Under) -> PathBuf {
    let is_cpp = source.ends_with(".cpp");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = folder.join(format!("{}-{link:?}-{under:?}", source.replace('.', "-")));
    let mut command = Command::new(if is_cpp { "c++" } else { "cc" });
    command.args(["-g", "-O1", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE"]);
    command.arg(if is_cpp { "-std=c++17" } else { "-std=c11" });
    if under == Under::AddressSanitizer {
        command.args(["-fsanitize=address", "-fno-omit-frame-pointer"]);
    }
    command.arg("-I").arg(root().join("include"));
    command.arg("-o").arg(&program).arg(root().join("clients").join(source));
    let libraries = libraries();
    match link {
        Link::Static => _ = command.arg(libraries.join("libalooper_ndk.a")).args(NATIVE),
        Link::Shared => {
            command.arg("-L").arg(&libraries).arg(format!("-Wl,-rpath,{}", libraries.display()));
            command.args(["-lalooper_ndk", "-pthread"]);
        }
    }
    run(&mut command);
    program
}

/// Whether the linker has AddressSanitizer's library.
fn has_address_sanitizer() -> bool {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (folder.join("nothing.c"), folder.join("nothing"));
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let built = Command::new("cc").arg("-fsanitize=address").arg(source).arg("-o").arg(program).output();
    built.is_ok_and(|output| output.status.success())
}

/// Builds a program in all ways, and compares what it prints.
fn prints(source: &str, expected: &str) {
    if !exists("cc") || (source.ends_with(".cpp") && !exists("c++")) {
        skipped(&format!("there is no compiler for {source}"));
        return;
    }
    for under in [Under::Nothing, Under::Valgrind, Under::AddressSanitizer] {
        let is_there = match under {
            Under::Nothing => true,
            Under::Valgrind => exists("valgrind"),
            Under::AddressSanitizer => has_address_sanitizer(),
        };
        if !is_there {
            skipped(&format!("{under:?} is not installed"));
            continue;
        }
        for link in [Link::Static, Link::Shared] {
            let program = build(source, link, under);
            let output = if under == Under::Valgrind {
                let mut valgrind = Command::new("valgrind");
                valgrind.args(["-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
                // What a table owns is possibly lost: its pointer is to the middle.
                valgrind.arg("--show-leak-kinds=definite");
                run(valgrind.arg(program))
            } else {
                run(&mut Command::new(program))
            };
            assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{source}, {link:?}, {under:?}");
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(complaint.is_empty(), "{source}, {link:?}, {under:?}: {complaint}");
        }
    }
}

#[test]
fn a_game_in_c_after_the_pattern_of_native_app_glue() {
    prints("game.c", GAME);
}

#[test]
fn an_exception_of_cpp_passes_through_the_poll_and_the_looper_stays_usable() {
    prints("throws.cpp", THROWS);
}

#[test]
fn functions_that_run_later() {
    prints("later.c", LATER);
}

/// The CMake project of `clients/`, with a pkg-config file such as cargo-c makes.
#[test]
fn cmake_builds_the_clients_with_the_name_that_an_ndk_build_uses() {
    if ["cmake", "ctest", "pkg-config", "c++"].iter().any(|program| !exists(program)) {
        skipped("CMake, pkg-config or a compiler is not installed");
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cmake");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let (libraries, include) = (libraries(), root().join("include"));
    let package = format!(
        "Name: alooper-ndk\nDescription: for a test\nVersion: 0.1.0\nLibs: -L{} -lalooper_ndk\nCflags: -I{}\n",
        libraries.display(),
        include.display()
    );
    fs::write(folder.join("alooper-ndk.pc"), package).unwrap();

    let build = folder.join("build");
    let mut configure = Command::new("cmake");
    run(configure.env("PKG_CONFIG_PATH", &folder).arg("-S").arg(root().join("clients")).arg("-B").arg(&build));
    run(Command::new("cmake").arg("--build").arg(&build));
    let tested = run(Command::new("ctest").arg("--test-dir").arg(&build));

    assert!(String::from_utf8_lossy(&tested.stdout).contains("100% tests passed, 0 tests failed out of 3"));
}
