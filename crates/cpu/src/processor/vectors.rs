//! A set of the 256 interrupt vectors: IRR, ISR and TMR are three of them.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vectors(pub [u64; 4]);

impl Vectors {
    pub fn has(&self, vector: u8) -> bool {
        self.0[usize::from(vector >> 6)] >> (vector & 63) & 1 != 0
    }
    pub fn insert(&mut self, vector: u8) {
        self.0[usize::from(vector >> 6)] |= 1 << (vector & 63);
    }
    pub fn remove(&mut self, vector: u8) {
        self.0[usize::from(vector >> 6)] &= !(1 << (vector & 63));
    }
    /// The highest vector, which has the highest priority.
    pub fn highest(&self) -> Option<u8> {
        let n = self.0.iter().rposition(|word| *word != 0)?;
        Some((n as u32 * 64 + self.0[n].ilog2()) as u8)
    }
    /// One of the eight 32-bit registers that show the set.
    pub fn word(&self, n: u32) -> u32 {
        (self.0[(n / 2) as usize & 3] >> (n % 2 * 32)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_vector_wins() {
        let mut set = Vectors::default();
        assert_eq!(set.highest(), None);
        set.insert(0x31);
        set.insert(0xef);
        assert_eq!(set.highest(), Some(0xef));
        set.remove(0xef);
        assert_eq!(set.highest(), Some(0x31));
    }

    #[test]
    fn eight_words_show_the_set() {
        let mut set = Vectors::default();
        set.insert(0x21);
        set.insert(0xff);
        assert_eq!((set.word(1), set.word(7)), (2, 1 << 31));
    }
}
