use super::*;
use crate::pci::regs::{BAR0, COMMAND, COMMAND_MEMORY};
use crate::probe::{read8, read16, write8, write16};
use crate::{PciBus, Windows};

struct Machine {
    memory: Arc<Memory>,
    function: Arc<Mutex<Display>>,
    legacy: Legacy,
    screen: Screen,
}

fn machine() -> Machine {
    let memory = Arc::new(Memory::with_aperture(&[(0, 0xa_0000)], None, MEMORY).unwrap());
    let Parts { function, legacy, screen } = display(&memory).unwrap();
    let legacy = Legacy(lock(&legacy).0.clone());
    Machine { memory, function, legacy, screen }
}

impl Machine {
    fn port(&mut self, port: u16, value: u8) {
        write8(&mut self.legacy, PORTS_REGION, u64::from(port) - PORTS, value);
    }
    fn indexed(&mut self, port: u16, registers: &[(u8, u8)]) {
        registers.iter().for_each(|&(index, value)| {
            write16(
                &mut self.legacy,
                PORTS_REGION,
                u64::from(port) - PORTS,
                u16::from_le_bytes([index, value]),
            );
        });
    }
    fn dispi(&mut self, registers: &[(usize, u16)]) {
        for &(index, value) in registers {
            write16(&mut self.legacy, 2, 0, index as u16);
            write16(&mut self.legacy, 2, 1, value);
        }
    }
    /// Palette colour n is (n, n, n); the sixteen colours are the first ones; the picture is shown.
    fn colours(&mut self) {
        self.port(MISC_WRITE, MISC_COLOUR);
        self.port(DAC_WRITE, 0);
        (0..64).for_each(|n| (0..3).for_each(|_| self.port(DAC_DATA, n)));
        self.attributes(&std::array::from_fn::<u8, 16, _>(|n| n as u8), 0);
    }
    fn attributes(&mut self, palette: &[u8], mode: u8) {
        read8(&mut self.legacy, PORTS_REGION, u64::from(STATUS1) - PORTS);
        for (index, &value) in (0..).zip(palette) {
            self.port(ATTRIBUTE, index);
            self.port(ATTRIBUTE, value);
        }
        for (index, value) in [(AR_MODE as u8, mode), (AR_PLANES as u8, 15)] {
            self.port(ATTRIBUTE, index);
            self.port(ATTRIBUTE, value);
        }
        self.port(ATTRIBUTE, ATTRIBUTE_SHOWN);
    }
    fn window(&mut self, address: u64, byte: u8) {
        write8(&mut self.legacy, WINDOW_REGION, address - WINDOW, byte);
    }
    /// 80 by 25 characters of 9 by 16 dots, as mode 3 has them.
    fn text_mode(&mut self) {
        self.colours();
        self.indexed(SEQUENCER, &[(2, 4), (4, 6)]);
        self.indexed(GRAPHICS, &[(5, 0), (6, 4), (8, 0xff)]);
        // The letter A has all dots of line 3 but the last.
        self.window(WINDOW + u64::from(b'A') * 32 + 3, 0xfe);
        self.indexed(SEQUENCER, &[(1, 0), (2, 3), (3, 0), (4, 2)]);
        self.indexed(GRAPHICS, &[(5, 0x10), (6, 0x0e)]);
        let lines = 25 * 16 - 1;
        self.indexed(CRTC, &[(1, 79), (7, 2), (9, 15), (0x0a, 0x20), (0x12, lines as u8), (0x13, 40)]);
        self.indexed(CRTC, &[(0x17, 0xa3)]);
    }
}

#[test]
fn text_is_drawn_with_the_font_that_was_loaded() {
    let mut machine = machine();
    machine.text_mode();
    machine.window(0xb_8000 + 160 + 2, b'A');
    machine.window(0xb_8000 + 160 + 3, 0x1e);
    let picture = machine.screen.picture();
    assert_eq!((picture.width, picture.height), (720, 400));
    let dot = |x: usize, y: usize| picture.pixels[(y * 720 + x) * 3];
    let line: Vec<u8> = (9..18).map(|x| dot(x, 16 + 3)).collect();
    let (fore, back) = (14 << 2, 1 << 2);
    assert_eq!(line, [fore, fore, fore, fore, fore, fore, fore, back, back]);
    assert_eq!((dot(9, 16 + 2), dot(0, 0)), (back, 0));
    assert_eq!(machine.screen.text().unwrap().lines().nth(1), Some(" A"));
}

#[test]
fn the_cursor_is_drawn_where_it_is() {
    let mut machine = machine();
    machine.text_mode();
    machine.window(0xb_8000 + 1, 7);
    machine.indexed(CRTC, &[(0x0a, 14), (0x0b, 15), (0x0e, 0), (0x0f, 0)]);
    let picture = machine.screen.picture();
    let dot = |y: usize| picture.pixels[y * 720 * 3];
    assert_eq!((dot(13), dot(14), dot(15)), (0, 7 << 2, 7 << 2));
}

#[test]
fn in_graphics_modes_there_is_no_text() {
    let mut machine = machine();
    machine.colours();
    machine.dispi(&[(DISPI_XRES, 640), (DISPI_YRES, 480), (DISPI_BPP, 32), (DISPI_ENABLE, 0x41)]);
    assert_eq!(machine.screen.text(), None);
}

#[test]
fn a_linear_mode_shows_what_lies_in_memory_at_its_place() {
    use vm_memory::{Bytes, GuestAddress};
    let mut machine = machine();
    machine.colours();
    machine.dispi(&[(DISPI_XRES, 1024), (DISPI_YRES, 768), (DISPI_BPP, 32), (DISPI_ENABLE, 0x41)]);
    let mut function = lock(&machine.function);
    function.write_config(BAR0 as u16, &0x8000_0000u32.to_le_bytes());
    function.write_config(COMMAND as u16, &COMMAND_MEMORY.to_le_bytes());
    function.placed();
    let pixel = GuestAddress(0x8000_0000 + 1024 * 4 + 8);
    machine.memory.ram().write_slice(&[3, 2, 1, 0], pixel).unwrap();
    let picture = machine.screen.picture();
    assert_eq!((picture.width, picture.height), (1024, 768));
    assert_eq!(picture.pixels[(1024 + 2) * 3..][..3], [1, 2, 3]);
}

#[test]
fn a_mode_that_memory_has_no_room_for_is_dark() {
    let mut machine = machine();
    machine.colours();
    machine.dispi(&[(DISPI_XRES, 2560), (DISPI_YRES, 1600), (DISPI_BPP, 32), (DISPI_ENABLE, 0x41)]);
    assert_eq!(machine.screen.picture().width, 2560);
    machine.dispi(&[(DISPI_VIRT_WIDTH, 4096)]);
    assert_eq!(machine.screen.picture().width, 640);
}

#[test]
fn enabling_a_mode_clears_what_it_shows_unless_it_is_told_not_to() {
    let mut machine = machine();
    let first = |machine: &Machine| {
        let mut byte = [0];
        machine.memory.aperture().unwrap().read(640 * 480 - 1, &mut byte);
        byte[0]
    };
    machine.memory.aperture().unwrap().write(640 * 480 - 1, &[7]);
    machine.dispi(&[(DISPI_XRES, 640), (DISPI_YRES, 480), (DISPI_BPP, 8), (DISPI_ENABLE, 0xc1)]);
    assert_eq!(first(&machine), 7);
    machine.dispi(&[(DISPI_ENABLE, 0), (DISPI_ENABLE, 0x41)]);
    assert_eq!(first(&machine), 0);
}

#[test]
fn the_interface_says_its_version_its_memory_and_its_largest_mode() {
    let mut machine = machine();
    machine.dispi(&[(DISPI_ID, 0xb0c4)]);
    let mut read = |index| {
        write16(&mut machine.legacy, 2, 0, index);
        read16(&mut machine.legacy, 2, 1)
    };
    assert_eq!((read(0), read(10)), (0xb0c4, 256));
    machine.dispi(&[(DISPI_ENABLE, 2), (DISPI_XRES, 0)]);
    assert_eq!(read16(&mut machine.legacy, 2, 1), MOST_WIDTH);
}

/// Write mode 2 with a bit mask, as GRUB and SeaBIOS draw characters in 16 colours.
#[test]
fn a_pixel_of_sixteen_colours_is_drawn_by_mask() {
    let mut machine = machine();
    machine.colours();
    machine.indexed(SEQUENCER, &[(2, 15), (4, 6)]);
    machine.indexed(GRAPHICS, &[(5, 2), (6, 5), (8, 0x40)]);
    machine.indexed(CRTC, &[(1, 79), (7, 2), (9, 0), (0x12, 0xdf), (0x13, 40), (0x17, 0xe3)]);
    read8(&mut machine.legacy, WINDOW_REGION, 80);
    machine.window(WINDOW + 80, 5);
    let picture = machine.screen.picture();
    assert_eq!((picture.width, picture.height), (640, 480));
    let dots: Vec<u8> = (0..3).map(|x| picture.pixels[(640 + x) * 3]).collect();
    assert_eq!(dots, [0, 5 << 2, 0]);
}

#[test]
fn a_pixel_of_256_colours_is_a_byte() {
    let mut machine = machine();
    machine.colours();
    machine.indexed(SEQUENCER, &[(2, 15), (4, 0x0e)]);
    machine.indexed(GRAPHICS, &[(5, 0x40), (6, 5), (8, 0xff)]);
    machine.indexed(CRTC, &[(1, 79), (7, 2), (9, 0x41), (0x12, 0x8f), (0x13, 40), (0x17, 0xa3)]);
    machine.window(WINDOW + 320 * 2 + 3, 9);
    let picture = machine.screen.picture();
    assert_eq!((picture.width, picture.height), (320, 200));
    assert_eq!(picture.pixels[(320 * 2 + 3) * 3], 9 << 2);
}

#[test]
fn what_the_latch_holds_is_copied_by_write_mode_1() {
    let mut machine = machine();
    machine.indexed(SEQUENCER, &[(2, 15), (4, 6)]);
    machine.indexed(GRAPHICS, &[(5, 0), (6, 5), (8, 0xff)]);
    machine.memory.aperture().unwrap().write(0, &[1, 2, 3, 4]);
    read8(&mut machine.legacy, WINDOW_REGION, 0);
    machine.indexed(GRAPHICS, &[(5, 1)]);
    machine.window(WINDOW + 10, 0);
    let mut copied = [0; 4];
    machine.memory.aperture().unwrap().read(40, &mut copied);
    assert_eq!(copied, [1, 2, 3, 4]);
}

#[test]
fn the_crtc_answers_where_the_miscellaneous_register_says() {
    let mut machine = machine();
    machine.port(0x3b4, 0x0c);
    assert_eq!(read8(&mut machine.legacy, PORTS_REGION, 4), 0x0c);
    assert_eq!(read8(&mut machine.legacy, PORTS_REGION, 0x24), 0xff);
    machine.port(MISC_WRITE, MISC_COLOUR);
    assert_eq!(read8(&mut machine.legacy, PORTS_REGION, 0x24), 0x0c);
    assert_eq!(read8(&mut machine.legacy, PORTS_REGION, 4), 0xff);
}

#[test]
fn a_bus_places_the_framebuffer_and_a_reset_takes_it_away() {
    let machine = machine();
    let pci = PciBus::new(Vec::new());
    pci.add(3, machine.function.clone()).unwrap();
    let windows = Windows { ports: 0..0, mmio32: 0xc100_0000..0xd000_0000, mmio64: 0..0 };
    pci.assign(&windows).unwrap();
    assert_eq!(machine.memory.aperture().unwrap().place(), Some(0xc100_0000));
    pci.reset();
    assert_eq!(machine.memory.aperture().unwrap().place(), None);
}

#[test]
fn the_registers_are_memory_as_well() {
    let machine = machine();
    let mut function = lock(&machine.function);
    function.write_bar(REGISTERS_BAR, MMIO_DISPI + 2, &1280u16.to_le_bytes());
    function.write_bar(REGISTERS_BAR, MMIO_PORTS + 2, &[MISC_COLOUR]);
    let mut data = [0; 2];
    function.read_bar(REGISTERS_BAR, MMIO_DISPI + 2, &mut data);
    assert_eq!(u16::from_le_bytes(data), 1280);
    function.read_bar(REGISTERS_BAR, MMIO_PORTS + 0xc, &mut data[..1]);
    assert_eq!(data[0], MISC_COLOUR);
}
