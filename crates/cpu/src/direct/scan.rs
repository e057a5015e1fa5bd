//! Which pages of code may run as they stand: those in which no instruction would tell of the host, or of state that the
//! guest's processor does not have there.

use iced_x86::{Decoder, DecoderOptions};

/// So far in front of a suspicious place decoding begins, at each byte, and so far from it at the latest: by then what began at a
/// wrong byte has nearly always found the instructions' own beginnings.
pub const FROM: usize = 96;
const TO: usize = 48;

/// What may be done with a page of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Runs,
    /// With the second byte of these opcodes changed in a copy, so that they raise #UD.
    Patched(Vec<usize>),
    Refused,
}

/// A page, and what is around it as far as that is known.
pub struct Code<'a> {
    /// [`FROM`] bytes, or none.
    pub front: &'a [u8],
    pub page: &'a [u8],
    pub behind: &'a [u8],
    /// What writes and reads XSAVE areas may not run.
    pub areas: bool,
    /// It is a program's text, and not written where it is run: data that is taken for an instruction, and changed, would be wrong
    /// without anybody's noticing.
    pub text: bool,
}

/// UD2 is 0F 0B.
pub const UD2: u8 = 0x0b;

impl Code<'_> {
    /// The page may run but for CPUID, RDPMC, RDPID, RDPRU, XGETBV, RDPKRU, WRPKRU, VMCALL, VMMCALL, SYSENTER, LAR and LSL of a register.
    /// (RDTSC and RDTSCP fault there.)
    pub fn judge(&self) -> Verdict {
        let all = [self.front, self.page, self.behind].concat();
        let start = self.front.len();
        let mut patches = Vec::new();
        for index in (start..start + self.page.len()).filter(|&index| all[index] == 0x0f) {
            if !self.sensitive(&all, index) {
                continue;
            }
            match self.is_instruction(&all, index) {
                Some(false) => {}
                Some(true) if self.text && index + 1 < start + self.page.len() => patches.push(index - start),
                _ => return Verdict::Refused,
            }
        }
        if patches.is_empty() { Verdict::Runs } else { Verdict::Patched(patches) }
    }

    /// Whether bytes are the opcode of one of the instructions, if one begins there (or at a prefix in front).
    fn sensitive(&self, all: &[u8], index: usize) -> bool {
        let Some(&second) = all.get(index + 1) else { return true };
        let third = all.get(index + 2).copied();
        let register = |third: u8| third >= 0xc0;
        let field = |third: u8| third >> 3 & 7;
        match second {
            0xa2 | 0x33 | 0x34 => true,
            0x01 => third.is_none_or(|third| matches!(third, 0xfd | 0xd0 | 0xee | 0xef | 0xc1 | 0xd9)),
            0x02 | 0x03 => third.is_none_or(register),
            0xc7 => third.is_none_or(|third| {
                let before = |back: usize| index.checked_sub(back).map_or(0xf3, |at| all[at]);
                let repeated = before(1) == 0xf3 || before(1) & 0xf0 == 0x40 && before(2) == 0xf3;
                register(third) && field(third) == 7 && repeated
                    || self.areas && !register(third) && matches!(field(third), 3..=5)
            }),
            0xae => self.areas && third.is_none_or(|third| !register(third) && matches!(field(third), 4..=6)),
            _ => false,
        }
    }

    /// Whether an instruction's opcode is at `index`: all ways to read what is in front say so, of which some begin with an
    /// instruction if it is code. None: they differ, or there is too little in front.
    fn is_instruction(&self, all: &[u8], index: usize) -> Option<bool> {
        let enough = index >= FROM;
        let starts = if enough { index - FROM..index - TO } else { 0..1 };
        let (count, found) = (starts.len(), starts.filter(|&start| reads_at(all, start, index)).count());
        match found {
            0 => Some(false),
            _ if enough && found == count => Some(true),
            _ => None,
        }
    }
}

/// Whether decoding from `start` on comes to an instruction whose opcode is at `index`: it begins there, or at a prefix.
fn reads_at(all: &[u8], start: usize, index: usize) -> bool {
    let prefix = |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    let mut decoder = Decoder::new(64, all, DecoderOptions::NONE);
    let mut at = start;
    while at < index {
        let _ = decoder.set_position(at);
        let length = decoder.decode().len().max(1);
        if at + length > index && all[at..index].iter().all(prefix) {
            return true;
        }
        at += length;
    }
    at == index
}

/// Whether two bytes at a page's end and two behind it may be such an instruction.
pub fn begins_between(bytes: [u8; 4]) -> bool {
    let code = Code { front: &[], page: &[], behind: &[], areas: true, text: true };
    (0..2).any(|index| bytes[index] == 0x0f && code.sensitive(&bytes, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Behind so many instructions of one byte.
    fn judge(code: &[u8], behind: &[u8]) -> Verdict {
        let page = [&[0x90; 200], code].concat();
        Code { front: &[], page: &page, behind, areas: true, text: true }.judge()
    }

    #[test]
    fn plain_code_may_run() {
        let code = [0x48, 0x89, 0xe5, 0x0f, 0x84, 1, 0, 0, 0, 0x0f, 0x05, 0xc3];
        assert_eq!(judge(&code, &[]), Verdict::Runs);
    }

    #[test]
    fn what_tells_of_the_host_is_patched() {
        let refused: [(&[u8], usize); 8] = [
            (&[0x0f, 0xa2, 0x90], 0),
            (&[0x0f, 0x33, 0x90], 0),
            (&[0x0f, 0x01, 0xd0], 0),
            (&[0x0f, 0x01, 0xd9], 0),
            (&[0xf3, 0x0f, 0xc7, 0xf8], 1),
            (&[0xf3, 0x48, 0x0f, 0xc7, 0xf8], 2),
            (&[0x0f, 0x03, 0xc0], 0),
            (&[0x0f, 0xc7, 0x20], 0),
        ];
        for (code, at) in refused {
            assert_eq!(judge(code, &[]), Verdict::Patched(vec![200 + at]), "{code:x?}");
        }
    }

    #[test]
    fn what_is_written_where_it_runs_is_not_patched() {
        let page = [[0x90; 200].as_slice(), &[0x0f, 0xa2]].concat();
        let code = Code { front: &[], page: &page, behind: &[], areas: false, text: false };
        assert_eq!(code.judge(), Verdict::Refused);
    }

    #[test]
    fn what_too_little_is_in_front_of_is_not_patched() {
        let code = Code { front: &[], page: &[0x90, 0x0f, 0xa2], behind: &[], areas: false, text: true };
        assert_eq!(code.judge(), Verdict::Refused);
    }

    #[test]
    fn rdseed_is_not_rdpid() {
        assert_eq!(judge(&[0x48, 0x0f, 0xc7, 0xf8], &[]), Verdict::Runs);
        assert_eq!(judge(&[0xf3, 0x90, 0x0f, 0xc7, 0xf8], &[]), Verdict::Runs);
    }

    #[test]
    fn bytes_of_another_instruction_are_none() {
        // MOV EAX, 90a20f90h.
        assert_eq!(judge(&[0xb8, 0x90, 0x0f, 0xa2, 0x90, 0xc3], &[]), Verdict::Runs);
    }

    #[test]
    fn an_instruction_may_go_on_in_the_next_page() {
        assert_eq!(judge(&[0x0f], &[0xa2]), Verdict::Refused);
        assert_eq!(judge(&[0x0f], &[0x05]), Verdict::Runs);
        assert_eq!(judge(&[0x0f], &[]), Verdict::Refused);
    }
}
