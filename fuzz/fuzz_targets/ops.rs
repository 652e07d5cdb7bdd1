//! Random operations on the fake kernel.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| alooper_fuzz::run(data, alooper_fuzz::Kind::Fake));
