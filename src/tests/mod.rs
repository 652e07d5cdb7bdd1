//! The rules in which time or the kernel's answers matter, on the fake kernel and the virtual clock: nothing sleeps.
//!
//! Rules that the real kernel can show are in `tests/`.

use std::{sync::Arc, time::Duration};

use crate::{
    builder::Builder,
    looper::Looper,
    sys::{
        Kernel,
        fake::{FakeKernel, Stuck},
    },
};

mod smoke;

/// A looper on a fake kernel, and that kernel.
fn fake() -> (Looper, Arc<FakeKernel>) {
    fake_with(|builder| builder)
}

/// A looper with properties on a fake kernel, and that kernel.
fn fake_with(set: impl FnOnce(Builder) -> Builder) -> (Looper, Arc<FakeKernel>) {
    let kernel = FakeKernel::new(Stuck::Panic);
    let looper = set(builder_on(&kernel)).build().expect("nothing fails unless told");
    (looper, kernel)
}

/// A builder of loopers on a fake kernel.
fn builder_on(kernel: &Arc<FakeKernel>) -> Builder {
    Builder { clock: kernel.clock(), kernel: Kernel::Fake(kernel.clone()), ..Looper::builder() }
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}
