//! How a VM ended.

use ireko_vmcore::Halt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest turned itself off.
    PowerOff,
    /// The guest asked for a reset.
    Reset,
    /// The guest wrote this to the isa-debug-exit port.
    DebugExit(u32),
    /// Triple fault, with registers.
    Shutdown(String),
    /// Its watchdog timer ran out.
    Watchdog,
    /// HLT with interrupts off: nothing can happen any more. With registers.
    Idle(String),
    /// The guest did what the engine does not do, with registers.
    Unsupported(String),
    /// The engine cannot go on, by a fault of its own or of the host, with registers.
    Failed(String),
    /// The host asked for it.
    Stopped,
}

impl Outcome {
    /// For the process that ran the VM. isa-debug-exit gives `value << 1 | 1`, as test kernels expect; so all others are even.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::PowerOff | Self::Reset | Self::Stopped => 0,
            Self::DebugExit(value) => (value << 1 | 1) as u8,
            Self::Shutdown(_) => 70,
            Self::Watchdog => 78,
            Self::Idle(_) => 74,
            Self::Failed(_) => 72,
            Self::Unsupported(_) => 76,
        }
    }

    /// In one sentence, without registers.
    pub fn sentence(&self) -> String {
        match self {
            Self::Idle(_) => Self::Idle(String::new()).to_string().trim_end_matches([':', ' ']).to_owned(),
            other => other.to_string().lines().next().unwrap_or_default().to_owned(),
        }
    }

    /// What a vCPU's halt means for the VM; `dump` is asked for where the halt says nothing itself.
    pub(crate) fn from_halt(halt: Halt, dump: impl FnOnce() -> String) -> Self {
        match halt {
            Halt::Stopped => Self::Stopped,
            Halt::Shutdown(text) => Self::Shutdown(text),
            Halt::Idle => Self::Idle(dump()),
            Halt::Unsupported(text) => Self::Unsupported(text),
            Halt::Failed(text) => Self::Failed(text),
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PowerOff => write!(f, "the guest turned itself off"),
            Self::Reset => write!(f, "the guest asked for a reset"),
            Self::DebugExit(value) => write!(f, "the guest ended with debug exit value {value}"),
            Self::Shutdown(text) => write!(f, "the guest shut down by a triple fault\n{text}"),
            Self::Watchdog => write!(f, "the guest did not begin its watchdog timer anew in time"),
            Self::Idle(text) => write!(f, "the guest halted with interrupts off for good: {text}"),
            Self::Unsupported(text) => write!(f, "the guest did what this engine does not do: {text}"),
            Self::Failed(text) => {
                write!(f, "the engine cannot go on (its own fault or the host's; please report it): {text}")
            }
            Self::Stopped => write!(f, "stopped from outside"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_has_no_registers() {
        let said = |outcome: Outcome| outcome.sentence();
        assert_eq!(said(Outcome::Shutdown("rip\nrax".into())), "the guest shut down by a triple fault");
        assert_eq!(said(Outcome::Idle("rip\nrax".into())), "the guest halted with interrupts off for good");
        assert_eq!(
            said(Outcome::Failed("no\nrax".into())),
            "the engine cannot go on (its own fault or the host's; please report it): no"
        );
    }

    #[test]
    fn a_triple_fault_is_said_once_on_a_line_of_its_own() {
        assert_eq!(Outcome::Shutdown("rip".into()).to_string(), "the guest shut down by a triple fault\nrip");
    }
}
