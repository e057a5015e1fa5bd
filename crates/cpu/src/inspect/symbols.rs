//! Guest addresses as symbols of a System.map (or a `/proc/kallsyms`), wherever KASLR has put the kernel.

use std::collections::HashMap;
use std::path::Path;

/// Linux's handler of page faults: where the interrupt table says that it is tells how far the kernel was moved.
const LANDMARK: &str = "asm_exc_page_fault";
/// Symbols below are offsets and not addresses.
const KERNEL_HALF: u64 = 0xffff_8000_0000_0000;
/// Bytes beyond the last symbol that still are taken for its own.
const REACH: u64 = 1 << 16;
/// KASLR moves by multiples of this.
const ALIGN: u64 = 0x1000;

pub struct Symbols {
    /// Text symbols, ascending.
    list: Vec<(u64, Box<str>)>,
    landmark: Option<u64>,
    /// How far each world's kernel was moved, by control structure.
    slides: HashMap<Option<u64>, u64>,
}

impl Symbols {
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let symbols = Self::parse(&String::from_utf8_lossy(&text));
        if symbols.landmark.is_none() {
            return Err(format!(
                "{} has {} text symbols and no {LANDMARK}, so it is no Linux symbol table (Debian's System.map is an \
                 empty one; give what /proc/kallsyms says in a guest with that kernel)",
                path.display(),
                symbols.list.len()
            ));
        }
        Ok(symbols)
    }

    /// `address type name`, a line each. Modules' symbols (with a fourth word) move by themselves and are left out.
    fn parse(text: &str) -> Self {
        let mut list: Vec<_> = text.lines().filter_map(line).collect();
        list.sort_by_key(|row| row.0);
        let landmark = list.iter().find(|row| &*row.1 == LANDMARK).map(|row| row.0);
        Self { list, landmark, slides: HashMap::new() }
    }

    pub fn learn(&mut self, world: Option<u64>, handler: u64) {
        let Some(slide) = self.landmark.map(|at| handler.wrapping_sub(at)) else { return };
        if handler >= KERNEL_HALF && slide % ALIGN == 0 {
            self.slides.insert(world, slide);
        }
    }

    pub fn slide(&self, world: Option<u64>) -> Option<u64> {
        self.slides.get(&world).copied()
    }

    /// `name+0x12` of an address in a world.
    pub fn name(&self, world: Option<u64>, address: u64) -> Option<String> {
        let address = address.wrapping_sub(self.slide(world)?);
        let at = self.list.partition_point(|row| row.0 <= address).checked_sub(1)?;
        let (start, name) = &self.list[at];
        let end = self.list.get(at + 1).map_or(start.saturating_add(REACH), |next| next.0);
        (address < end).then(|| format!("{name}+{:#x}", address - start))
    }
}

fn line(line: &str) -> Option<(u64, Box<str>)> {
    let mut words = line.split_ascii_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;
    let text = matches!(words.next()?, "t" | "T" | "w" | "W");
    let name = words.next()?;
    (text && address >= KERNEL_HALF && words.next().is_none()).then(|| (address, name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text\nffffffff81000100 t inner\n\
                       ffffffff81e00b60 T asm_exc_page_fault\nffffffff82000000 D data\nffffffffc0000000 t other [kvm]\n";

    fn moved(handler: u64) -> Symbols {
        let mut symbols = Symbols::parse(MAP);
        symbols.learn(None, handler);
        symbols
    }

    #[test]
    fn a_moved_kernels_address_gets_its_name() {
        let symbols = moved(0xffff_ffff_81e0_0b60 + 0x3780_0000);
        assert_eq!(symbols.name(None, 0xffff_ffff_8100_0104 + 0x3780_0000).as_deref(), Some("inner+0x4"));
    }

    #[test]
    fn an_unknown_world_has_no_names() {
        assert_eq!(moved(0xffff_ffff_81e0_0b60).name(Some(0x1000), 0xffff_ffff_8100_0100), None);
    }

    #[test]
    fn a_handler_elsewhere_in_its_page_is_another_kernels() {
        assert_eq!(moved(0xffff_ffff_81e0_0b70).slides.len(), 0);
    }

    #[test]
    fn modules_and_data_are_not_taken() {
        assert_eq!(Symbols::parse(MAP).list.len(), 3);
    }

    #[test]
    fn addresses_outside_the_kernel_have_no_name() {
        let symbols = moved(0xffff_ffff_81e0_0b60);
        assert_eq!((symbols.name(None, 0x40_0000), symbols.name(None, u64::MAX)), (None, None));
    }
}
