//! Random operations on the real kernel.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alooper_fuzz::run(data, alooper_fuzz::Kind::Real));
