//! Which pages of code may run as they stand: those in which no instruction would tell of the host, or of state that the
//! guest's processor does not have there.

use super::Heeded;
use iced_x86::{Decoder, DecoderOptions};

/// So far in front of a suspicious place decoding begins, at each byte, and so far from it at the latest: by then what began at a
/// wrong byte has nearly always found the instructions' own beginnings. Of what is nearer to a page's start, bytes in front of the
/// page say what it is, and nothing is changed.
pub const FROM: usize = 96;
const TO: usize = 48;

/// Bytes at the end of a page and at the start of the next that tell of an instruction that begins in the one and goes on in the
/// other.
pub const END: usize = FROM + 16;
pub const BEHIND: usize = 2;

/// What may be done with a page of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Runs,
    /// In a copy with other bytes at these places: the instructions there raise #UD or #GP.
    Patched(Vec<(usize, u8)>),
    Refused,
}

/// UD2 is 0F 0B.
const UD2: u8 = 0x0b;
/// HLT, which programs may not; it needs as many bytes as PAUSE has behind its prefixes.
const HLT: u8 = 0xf4;
const PAUSE: u8 = 0x90;
const REPEAT: u8 = 0xf3;

/// What is in front of a page where it runs.
pub type Front = [u8; FROM];

/// The page may run but for CPUID, RDPMC, RDPID, RDPRU, XGETBV, RDPKRU, WRPKRU, VMCALL, VMMCALL, SYSENTER, MONITORX, MWAITX, SGDT, SIDT,
/// SMSW, SLDT, STR, VERR, VERW, LAR and LSL (RDTSC and RDTSCP fault there), and for what is heeded. Beside the verdict: whether it is
/// one of what is in front, too, which is another with each mapping. What is behind is asked for elsewhere ([`straddles`]).
pub fn judge(front: Option<&Front>, page: &[u8], heeded: Heeded) -> (Verdict, bool) {
    let all = [front.map_or(&[] as &[u8], |front| front), page].concat();
    let start = all.len() - page.len();
    let mut code = Code::new(&all);
    let (mut patches, mut of_front) = (Vec::new(), false);
    for offset in (0..page.len()).filter(|&offset| matches!(page[offset], 0x0f | PAUSE)) {
        let (index, near) = (start + offset, offset < FROM);
        // Without what is in front, prefixes there may be any.
        of_front |= near && sensitive(page, offset, heeded);
        if !sensitive(&all, index, heeded) {
            continue;
        }
        let patch = if page[offset] == PAUSE { (offset, HLT) } else { (offset + 1, UD2) };
        match code.is_instruction(index) {
            Some(false) => {}
            Some(true) if heeded.text && !near => patches.push(patch),
            _ => return (Verdict::Refused, of_front),
        }
    }
    (if patches.is_empty() { Verdict::Runs } else { Verdict::Patched(patches) }, of_front)
}

/// Whether one of the instructions may begin at a page's end and go on in the next page.
pub fn straddles(end: &[u8; END], behind: &[u8; BEHIND], heeded: Heeded) -> bool {
    let all = [end.as_slice(), behind].concat();
    let mut code = Code::new(&all);
    let opcode = |index: &usize| all[*index] == 0x0f && sensitive(&all, *index, heeded);
    (END - 2..END).filter(opcode).any(|index| code.is_instruction(index) != Some(false))
}

/// Whether bytes are the opcode of one of the instructions, if one begins there (or at a prefix in front). Those that end behind
/// what is given are none; prefixes in front of it may be any.
fn sensitive(all: &[u8], index: usize, heeded: Heeded) -> bool {
    if all[index] == PAUSE {
        return heeded.pauses && repeated(&all[..index]);
    }
    let Some(&second) = all.get(index + 1) else { return false };
    if matches!(second, 0xa2 | 0x33 | 0x34 | 0x02 | 0x03) {
        return true;
    }
    let Some(&third) = all.get(index + 2) else { return false };
    let (register, field) = (third >= 0xc0, third >> 3 & 7);
    match second {
        0x00 => matches!(field, 0 | 1 | 4 | 5),
        0x01 if register => {
            field == 4 || matches!(third, 0xc1 | 0xd0 | 0xd9 | 0xee | 0xef | 0xfa | 0xfb | 0xfd)
        }
        0x01 => matches!(field, 0 | 1 | 4),
        0xc7 if register => field == 7 && repeated(&all[..index]),
        0xc7 => heeded.areas && matches!(field, 3..=5),
        0xae => heeded.areas && !register && matches!(field, 4..=6),
        _ => false,
    }
}

fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
}

/// Whether what follows may have the prefix F3.
fn repeated(front: &[u8]) -> bool {
    let prefixes = front.iter().rev().take_while(|byte| is_prefix(**byte));
    let count = prefixes.clone().count();
    count == front.len() || prefixes.into_iter().any(|byte| *byte == REPEAT)
}

/// Bytes of code, and how long instructions are that begin at each, as far as that was asked for: else 0.
struct Code<'a> {
    all: &'a [u8],
    lengths: Vec<u8>,
    decoder: Decoder<'a>,
}

impl<'a> Code<'a> {
    fn new(all: &'a [u8]) -> Self {
        Self { all, lengths: vec![0; all.len()], decoder: Decoder::new(64, all, DecoderOptions::NONE) }
    }

    fn length(&mut self, at: usize) -> usize {
        if self.lengths[at] == 0 {
            let _ = self.decoder.set_position(at);
            self.lengths[at] = self.decoder.decode().len().max(1) as u8;
        }
        self.lengths[at].into()
    }

    /// Whether an instruction's opcode is at `index`: all ways to read what is in front say so, of which some begin with an
    /// instruction if it is code. None: they differ, or there is too little in front.
    fn is_instruction(&mut self, index: usize) -> Option<bool> {
        let starts = index.checked_sub(FROM)?..index - TO;
        let (count, found) = (starts.len(), starts.filter(|&start| self.reads_at(start, index)).count());
        match found {
            0 => Some(false),
            _ if found == count => Some(true),
            _ => None,
        }
    }

    /// Whether decoding from `start` on comes to an instruction whose opcode is at `index`: it begins there, or at a prefix.
    fn reads_at(&mut self, start: usize, index: usize) -> bool {
        let mut at = start;
        while at < index {
            let next = at + self.length(at);
            if next > index && self.all[at..index].iter().all(|byte| is_prefix(*byte)) {
                return true;
            }
            at = next;
        }
        at == index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Heeded = Heeded { areas: true, pauses: true, text: true };

    /// Behind so many instructions of one byte.
    fn verdict(code: &[u8]) -> Verdict {
        let (verdict, of_front) = judge(None, &[&[0x98; 200], code].concat(), ALL);
        assert!(!of_front);
        verdict
    }

    #[test]
    fn plain_code_may_run() {
        let code = [0x48, 0x89, 0xe5, 0x0f, 0x84, 1, 0, 0, 0, 0x0f, 0x05, 0xc3];
        assert_eq!(verdict(&code), Verdict::Runs);
    }

    #[test]
    fn what_tells_of_the_host_is_patched() {
        let refused: [(&[u8], usize); 20] = [
            (&[0x0f, 0xa2, 0x98], 0),
            (&[0x0f, 0x33, 0x98], 0),
            (&[0x0f, 0x01, 0xd0], 0),
            (&[0x0f, 0x01, 0xd9], 0),
            (&[0x0f, 0x01, 0xfb], 0),
            (&[0xf3, 0x0f, 0xc7, 0xf8], 1),
            (&[0xf3, 0x48, 0x0f, 0xc7, 0xf8], 2),
            (&[0xf3, 0x66, 0x0f, 0xc7, 0xf8], 2),
            (&[0x0f, 0x03, 0xc0], 0),
            (&[0x0f, 0x02, 0x00], 0),
            (&[0x0f, 0x03, 0x00], 0),
            (&[0x0f, 0xc7, 0x20], 0),
            (&[0x0f, 0x01, 0x00], 0),
            (&[0x0f, 0x01, 0x08], 0),
            (&[0x0f, 0x01, 0x20], 0),
            (&[0x0f, 0x01, 0xe0], 0),
            (&[0x0f, 0x00, 0xc0], 0),
            (&[0x0f, 0x00, 0x08], 0),
            (&[0x0f, 0x00, 0x20], 0),
            (&[0x0f, 0x00, 0xe8], 0),
        ];
        for (code, at) in refused {
            assert_eq!(verdict(code), Verdict::Patched(vec![(201 + at, UD2)]), "{code:x?}");
        }
    }

    #[test]
    fn pause_is_patched_where_it_is_heeded_alone() {
        for code in [[0xf3, 0x90, 0x98], [0xf3, 0x48, 0x90]] {
            let at = 200 + code.iter().position(|byte| *byte == PAUSE).unwrap();
            assert_eq!(verdict(&code), Verdict::Patched(vec![(at, HLT)]));
            let page = [[0x98; 200].as_slice(), &code].concat();
            assert_eq!(judge(None, &page, Heeded { pauses: false, ..ALL }).0, Verdict::Runs);
        }
        assert_eq!(verdict(&[0x90, 0x90]), Verdict::Runs);
    }

    #[test]
    fn what_is_written_where_it_runs_is_not_patched() {
        let page = [[0x98; 200].as_slice(), &[0x0f, 0xa2]].concat();
        assert_eq!(judge(None, &page, Heeded { text: false, ..ALL }).0, Verdict::Refused);
    }

    #[test]
    fn near_a_pages_start_what_is_in_front_says_what_is_an_instruction() {
        // CPUID; MOV EAX, with its bytes inside.
        let forms: [(&[u8], Verdict); 2] =
            [(&[0x0f, 0xa2, 0x98], Verdict::Refused), (&[0xb8, 0x0f, 0xa2, 0, 0], Verdict::Runs)];
        for (code, verdict) in forms {
            for before in [0, 14, 90] {
                let page = [vec![0x98; before].as_slice(), code].concat();
                assert_eq!(judge(Some(&[0x98; FROM]), &page, ALL), (verdict.clone(), true), "{before}");
                assert_eq!(judge(None, &page, ALL), (Verdict::Refused, true), "{before}");
            }
        }
    }

    #[test]
    fn the_same_page_is_another_behind_another() {
        // MOV EAX goes on in the page.
        let (mut front, page) = ([0x98; FROM], [0x0f, 0xa2, 0x98, 0x98]);
        front[FROM - 1] = 0xb8;
        assert_eq!(judge(Some(&front), &page, ALL), (Verdict::Runs, true));
        assert_eq!(judge(Some(&[0x98; FROM]), &page, ALL), (Verdict::Refused, true));
    }

    #[test]
    fn rdseed_is_not_rdpid() {
        assert_eq!(verdict(&[0x48, 0x0f, 0xc7, 0xf8]), Verdict::Runs);
        assert_eq!(verdict(&[0xf3, 0x98, 0x0f, 0xc7, 0xf8]), Verdict::Runs);
        // Its prefix may be in the page before.
        let (page, mut front) = ([0x48, 0x0f, 0xc7, 0xf8], [0x98; FROM]);
        assert_eq!(judge(Some(&front), &page, ALL), (Verdict::Runs, true));
        front[FROM - 1] = REPEAT;
        assert_eq!(judge(Some(&front), &page, ALL), (Verdict::Refused, true));
    }

    #[test]
    fn bytes_of_another_instruction_are_none() {
        // MOV EAX, 98a20f98h.
        assert_eq!(verdict(&[0xb8, 0x98, 0x0f, 0xa2, 0x98, 0xc3]), Verdict::Runs);
    }

    #[test]
    fn an_instruction_may_go_on_in_the_next_page() {
        let crosses = |front: &[u8], behind: [u8; BEHIND]| {
            let mut end = [0x98; END];
            end[END - front.len()..].copy_from_slice(front);
            straddles(&end, &behind, ALL)
        };
        assert!(crosses(&[0x0f], [0xa2, 0]) && crosses(&[0x0f, 0x01], [0xd0, 0]));
        assert!(crosses(&[0xf3, 0x0f, 0xc7], [0xf8, 0]) && crosses(&[0xf3, 0x0f], [0xc7, 0xf8]));
        assert!(!crosses(&[0x0f], [0x05, 0]) && !crosses(&[0x98, 0x0f, 0xc7], [0xf8, 0]));
        // MOV EAX, with CPUID's bytes inside.
        assert!(!crosses(&[0xb8, 0x0f], [0xa2, 0]));
    }
}
