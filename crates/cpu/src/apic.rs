//! (being written) stub
#[derive(Default)]
pub struct Apic;
impl Apic {
    pub fn covers(&self, address: u64) -> bool { address >> 12 == 0xfee00 }
    pub fn read(&mut self, _offset: u32) -> u32 { 0 }
    pub fn write(&mut self, _offset: u32, _value: u32) {}
}
