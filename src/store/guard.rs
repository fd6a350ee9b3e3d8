//! Where panics end: redb panics on some damaged pages, and a damaged profile is an error and no bug.
//! What is read within the guard does not live here.

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe, catch_unwind},
};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `look`; where it panics, says what the panic said.
pub(super) fn guarded<T>(look: impl FnOnce() -> T) -> Result<T, String> {
    let outer = GUARDED.replace(true);
    let looked = catch_unwind(AssertUnwindSafe(look));
    GUARDED.set(outer);
    looked.map_err(|panic| words_of(&*panic))
}

/// From now on the process says nothing about panics that a store catches; they come back as errors.
/// For programs whose standard error people read. All other panics are reported as before.
pub fn hush_caught_panics() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !GUARDED.get() {
            report(panic);
        }
    }));
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    words.unwrap_or("its pages make no sense").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_words_and_the_guard_ends_with_it() {
        assert_eq!(guarded(|| 1), Ok(1));
        let inner = || guarded(|| -> u8 { panic!("page {}", 7) });
        assert_eq!(guarded(|| (inner(), GUARDED.get())), Ok((Err("page 7".to_owned()), true)));
        assert!(!GUARDED.get());
    }
}
