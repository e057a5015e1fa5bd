//! What the engine always counts: a handful of numbers, cheap enough to be on.

/// Defines [`Counters`] with a name for each number.
macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        /// What the engine counts, by name in dumps.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $(pub $name: u64,)*
        }

        impl Counters {
            /// Every number with its name.
            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            /// Adds what was counted from `then` to `now`.
            pub fn add_between(&mut self, then: &Self, now: &Self) {
                $(self.$name = self.$name.wrapping_add(now.$name.wrapping_sub(then.$name));)*
            }
        }
    };
}

counters! {
    walks,
    mmio,
    blocks,
    copied_blocks,
    regions,
    leaves,
    system,
    slow_accesses,
    exceptions,
    interrupts,
    exits,
    entries,
    invalidations,
    flushes,
    spared_flushes,
    direct_runs,
    direct_faults,
    direct_pages,
    direct_steps,
    direct_started,
    direct_given_up,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_between_two_moments_is_their_difference() {
        let then = Counters { walks: 3, ..Counters::default() };
        let now = Counters { walks: 5, mmio: 1, ..Counters::default() };
        let mut sum = Counters { walks: 10, ..Counters::default() };
        sum.add_between(&then, &now);
        assert_eq!((sum.walks, sum.mmio), (12, 1));
    }
}
