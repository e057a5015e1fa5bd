use super::resource::{MOST_BYTES, MOST_RESOURCES, MOST_SEGMENTS};
use super::*;
use crate::Screen;
use crate::pci::Function;
use crate::virtio::regs::*;
use crate::virtio::tests::{DATA, Driver, WRITE};
use vm_memory::{Bytes, GuestAddress};

const ANSWER: u64 = 0xa000;
/// Where guests have pixels.
const PIXELS: u64 = 0x2_0000;
const BGRX: u32 = 2;

/// The configuration structures are in a BAR of their own; [`Driver`] speaks to the other one.
struct Machine {
    driver: Driver,
    screen: Screen,
    /// To look at what is kept.
    state: Shared,
}

fn machine() -> Machine {
    machine_at(CONTROL as u16)
}

fn machine_at(queue: u16) -> Machine {
    let memory = Memory::with_aperture(&[(0, 0x10_0000)], None, display::regs::MEMORY).unwrap();
    let state = Shared::default();
    let mut screen = None;
    let driver = Driver::over(memory, |memory, msi, line| {
        let overlay: Arc<dyn Overlay> = Arc::new(Shown(state.clone()));
        let vga = display::display_as(&memory.clone(), Some(overlay), |_| crate::shared(())).unwrap();
        screen = Some(vga.screen);
        let device = Gpu { state: state.clone(), memory: memory.clone() };
        VirtioPci::new(Box::new(device), memory, msi, line)
    });
    Machine { driver: driver.started(queue), screen: screen.unwrap(), state }
}

impl Machine {
    /// Sends a command: its type and the words of its parameters. What kind of answer comes.
    fn command(&mut self, kind: u32, words: &[u32]) -> u32 {
        let header = [kind, FLAG_FENCE, 7, 0, 0, 0];
        let bytes: Vec<u8> = header.iter().chain(words).flat_map(|word| word.to_le_bytes()).collect();
        self.driver.memory.ram().write_slice(&bytes, GuestAddress(DATA)).unwrap();
        self.driver.submit(&[(DATA, bytes.len() as u32, 0), (ANSWER, 0x800, WRITE)]);
        u32::from_le_bytes(self.driver.take(ANSWER))
    }
    fn create(&mut self, id: u32, width: u32, height: u32) -> u32 {
        self.command(RESOURCE_CREATE_2D, &[id, BGRX, width, height])
    }
    fn back(&mut self, id: u32, segments: &[(u64, u32)]) -> u32 {
        let entries = segments.iter().flat_map(|&(at, len)| [at as u32, (at >> 32) as u32, len, 0]);
        let words: Vec<u32> = [id, segments.len() as u32].into_iter().chain(entries).collect();
        self.command(RESOURCE_ATTACH_BACKING, &words)
    }
    fn transfer(&mut self, id: u32, [x, y, width, height]: [u32; 4], offset: u64) -> u32 {
        let words = [x, y, width, height, offset as u32, (offset >> 32) as u32, id, 0];
        self.command(TRANSFER_TO_HOST_2D, &words)
    }
    fn scan_out(&mut self, id: u32, [x, y, width, height]: [u32; 4]) -> u32 {
        self.command(SET_SCANOUT, &[x, y, width, height, 0, id])
    }
    /// Pixels of blue, green, red and nothing.
    fn pixels(&self, at: u64, pixels: &[[u8; 4]]) {
        self.driver.memory.ram().write_slice(&pixels.concat(), GuestAddress(at)).unwrap();
    }
}

#[test]
fn one_screen_of_the_preferred_size_is_there() {
    let mut machine = machine();
    assert_eq!(machine.command(GET_DISPLAY_INFO, &[]), OK_DISPLAY_INFO);
    let word = |at: u64| u32::from_le_bytes(machine.driver.take(ANSWER + 24 + at));
    assert_eq!((word(8), word(12), word(16), word(24 + 16)), (PREFERRED.0, PREFERRED.1, 1, 0));
}

#[test]
fn a_fence_comes_back() {
    let mut machine = machine();
    machine.command(GET_DISPLAY_INFO, &[]);
    assert_eq!(machine.driver.take::<12>(ANSWER + 4), [1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn the_monitor_says_what_it_is() {
    let mut machine = machine();
    assert_eq!(machine.command(GET_EDID, &[0, 0]), OK_EDID);
    assert_eq!(machine.driver.take::<8>(ANSWER + 24 + 8), [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    assert_eq!(machine.command(GET_EDID, &[1, 0]), ERR_INVALID_SCANOUT_ID);
}

#[test]
fn the_vga_is_shown_until_something_is_scanned_out_and_after_a_reset() {
    let mut machine = machine();
    assert_eq!(machine.screen.picture(), Picture::blank());
    machine.create(1, 2, 1);
    machine.scan_out(1, [0, 0, 2, 1]);
    assert_eq!(machine.screen.picture().pixels, [0; 6]);
    machine.driver.set_status(0);
    assert_eq!((machine.screen.picture().width, lock(&machine.state).resources.count()), (640, (0, 0)));
}

#[test]
fn what_is_transferred_is_shown_in_the_order_of_its_format() {
    let mut machine = machine();
    machine.create(1, 2, 2);
    // Two pieces that part a pixel.
    assert_eq!(machine.back(1, &[(PIXELS, 6), (PIXELS + 0x100, 10)]), OK_NODATA);
    machine.pixels(PIXELS, &[[1, 2, 3, 0], [4, 5, 0, 0]]);
    machine.pixels(PIXELS + 0x100, &[[6, 0, 7, 8], [9, 0, 10, 11], [12, 0, 0, 0]]);
    assert_eq!(machine.transfer(1, [0, 0, 2, 2], 0), OK_NODATA);
    machine.scan_out(1, [0, 0, 2, 2]);
    assert_eq!(machine.screen.picture().pixels, [3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10]);
}

#[test]
fn a_part_is_transferred_and_a_part_is_shown() {
    let mut machine = machine();
    machine.create(1, 4, 3);
    machine.back(1, &[(PIXELS, 4 * 4 * 3)]);
    let pixels: Vec<[u8; 4]> = (1..=12).map(|n| [n, n, n, 0]).collect();
    machine.pixels(PIXELS, &pixels);
    // Columns 2 and 3 of lines 1 and 2.
    assert_eq!(machine.transfer(1, [2, 1, 2, 2], (4 + 2) * 4), OK_NODATA);
    machine.scan_out(1, [1, 1, 2, 2]);
    let grey: Vec<u8> = machine.screen.picture().pixels.chunks_exact(3).map(|pixel| pixel[0]).collect();
    assert_eq!(grey, [0, 7, 0, 11]);
}

#[test]
fn rectangles_outside_are_refused() {
    let mut machine = machine();
    machine.create(1, 4, 4);
    machine.back(1, &[(PIXELS, 64)]);
    for wrong in [[0, 0, 5, 1], [4, 0, 1, 1], [0, u32::MAX, 1, 2], [1, 1, 0, 1], [0, 0, u32::MAX, 1]] {
        assert_eq!(machine.transfer(1, wrong, 0), ERR_INVALID_PARAMETER, "{wrong:?}");
        assert_eq!(machine.scan_out(1, wrong), ERR_INVALID_PARAMETER, "{wrong:?}");
        let [x, y, width, height] = wrong;
        assert_eq!(machine.command(RESOURCE_FLUSH, &[x, y, width, height, 1, 0]), ERR_INVALID_PARAMETER);
    }
}

#[test]
fn a_transfer_of_more_than_is_behind_a_resource_is_refused() {
    let mut machine = machine();
    machine.create(1, 4, 4);
    assert_eq!(machine.transfer(1, [0, 0, 4, 4], 0), ERR_INVALID_PARAMETER);
    machine.back(1, &[(PIXELS, 60), (PIXELS, 0)]);
    assert_eq!(machine.transfer(1, [0, 0, 4, 4], 0), ERR_INVALID_PARAMETER);
    assert_eq!(machine.transfer(1, [0, 0, 4, 1], u64::MAX), ERR_INVALID_PARAMETER);
    assert_eq!(machine.transfer(1, [0, 0, 3, 1], 48), OK_NODATA);
}

#[test]
fn backing_that_is_no_memory_fails_when_it_is_read() {
    let mut machine = machine();
    machine.create(1, 4, 4);
    assert_eq!(machine.back(1, &[(u64::MAX - 15, u32::MAX)]), OK_NODATA);
    assert_eq!(machine.transfer(1, [0, 0, 4, 4], 0), ERR_INVALID_PARAMETER);
}

#[test]
fn resources_that_are_not_there_are_named_as_such() {
    let mut machine = machine();
    for id in [0, 9] {
        assert_eq!(machine.command(RESOURCE_UNREF, &[id, 0]), ERR_INVALID_RESOURCE_ID);
        assert_eq!(machine.back(id, &[]), ERR_INVALID_RESOURCE_ID);
        assert_eq!(machine.command(RESOURCE_DETACH_BACKING, &[id, 0]), ERR_INVALID_RESOURCE_ID);
        assert_eq!(machine.transfer(id, [0, 0, 1, 1], 0), ERR_INVALID_RESOURCE_ID);
    }
    assert_eq!(machine.scan_out(9, [0, 0, 1, 1]), ERR_INVALID_RESOURCE_ID);
    assert_eq!(machine.create(0, 1, 1), ERR_INVALID_RESOURCE_ID);
}

#[test]
fn a_resource_that_goes_is_shown_no_more() {
    let mut machine = machine();
    machine.create(1, 4, 4);
    machine.scan_out(1, [0, 0, 4, 4]);
    assert_eq!(machine.command(RESOURCE_UNREF, &[1, 0]), OK_NODATA);
    assert_eq!(machine.screen.picture(), Picture::blank());
}

#[test]
fn the_pixels_of_all_resources_have_a_bound() {
    let mut machine = machine();
    assert_eq!(machine.create(1, u32::MAX, u32::MAX), ERR_OUT_OF_MEMORY);
    assert_eq!(machine.create(1, 0, 1), ERR_INVALID_PARAMETER);
    for id in 1..10 {
        machine.create(id, 2560, 1600);
    }
    assert_eq!(lock(&machine.state).resources.count(), (2, 2 * 2560 * 1600 * 4));
    machine.command(RESOURCE_UNREF, &[1, 0]);
    assert_eq!(machine.create(3, 2560, 1600), OK_NODATA);
    assert!(lock(&machine.state).resources.count().1 <= MOST_BYTES);
}

#[test]
fn there_are_so_many_resources_and_no_more() {
    let mut machine = machine();
    (1..=MOST_RESOURCES as u32 + 8).for_each(|id| assert_ne!(machine.create(id, 1, 1), 0));
    assert_eq!(lock(&machine.state).resources.count().0, MOST_RESOURCES);
}

#[test]
fn the_pieces_behind_a_resource_have_a_bound() {
    let mut machine = machine();
    machine.create(1, 1, 1);
    let words = [1, MOST_SEGMENTS as u32 + 1];
    assert_eq!(machine.command(RESOURCE_ATTACH_BACKING, &words), ERR_OUT_OF_MEMORY);
    // Fewer entries than were announced.
    assert_eq!(machine.command(RESOURCE_ATTACH_BACKING, &[1, 3]), ERR_INVALID_PARAMETER);
}

#[test]
fn a_command_that_there_is_not_and_one_that_is_cut_are_refused() {
    let mut machine = machine();
    assert_eq!(machine.command(0x1ff, &[]), ERR_UNSPEC);
    assert_eq!(machine.command(RESOURCE_CREATE_2D, &[1, BGRX]), ERR_INVALID_PARAMETER);
}

#[test]
fn a_command_without_a_header_breaks_the_device() {
    let mut machine = machine();
    machine.driver.submit(&[(DATA, 23, 0), (ANSWER, 64, WRITE)]);
    assert_ne!(machine.driver.status() & STATUS_NEEDS_RESET, 0);
}

#[test]
fn the_cursor_lies_over_the_picture_and_moves() {
    let mut machine = machine_at(CONTROL as u16);
    machine.create(1, 4, 2);
    machine.scan_out(1, [0, 0, 4, 2]);
    // Blue, green, red and how much of it covers.
    machine.command(RESOURCE_CREATE_2D, &[2, 1, CURSOR, CURSOR]);
    machine.back(2, &[(PIXELS, CURSOR * CURSOR * 4)]);
    machine.pixels(PIXELS, &[[30, 20, 10, 255]]);
    machine.transfer(2, [0, 0, CURSOR, CURSOR], 0);
    assert_eq!(machine.command(UPDATE_CURSOR, &[0, 1, 1, 0, 2, 0, 0, 0]), OK_NODATA);
    let at = |machine: &Machine, pixel: usize| machine.screen.picture().pixels[pixel * 3..][..3].to_vec();
    assert_eq!(at(&machine, 5), [10, 20, 30]);
    machine.command(MOVE_CURSOR, &[0, 2, 0, 0, 0, 0, 0, 0]);
    assert_eq!((at(&machine, 5), at(&machine, 2)), (vec![0; 3], vec![10, 20, 30]));
    machine.command(UPDATE_CURSOR, &[0, 2, 0, 0, 0, 0, 0, 0]);
    assert_eq!(at(&machine, 2), [0; 3]);
}

#[test]
fn a_cursor_of_another_size_is_refused() {
    let mut machine = machine();
    machine.create(1, 4, 2);
    assert_eq!(machine.command(UPDATE_CURSOR, &[0, 0, 0, 0, 1, 0, 0, 0]), ERR_INVALID_PARAMETER);
}

#[test]
fn a_cursor_may_hang_over_every_edge() {
    let mut picture = Picture::new(4, 2);
    picture.pixels = vec![0; 24];
    let cursor = vec![[9, 9, 9, 255]; (CURSOR * CURSOR) as usize];
    lay(&mut picture, u32::MAX - 61, u32::MAX - 62, &cursor);
    let shown: Vec<u8> = picture.pixels.chunks_exact(3).map(|pixel| pixel[0]).collect();
    assert_eq!(shown, [9, 9, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn the_function_is_a_vga_with_the_structures_in_a_bar_of_their_own() {
    let memory = Memory::with_aperture(&[(0, 0x10_0000)], None, display::regs::MEMORY).unwrap();
    let (sink, _) = crate::probe::messages();
    let parts = gpu(Arc::new(memory), sink, Line::unconnected()).unwrap();
    let function = lock(&parts.function);
    let mut id = [0; 4];
    function.config().read(0, &mut id);
    assert_eq!(u32::from_le_bytes(id), 0x1050_1af4);
    let bars: Vec<usize> = function.config().bars().map(|(index, _)| index).collect();
    assert_eq!(bars, [0, 2, BAR_BESIDE]);
}

/// Commands that there are, with parameters from bytes: whatever they are, what is kept has its bounds and pictures are whole.
#[test]
fn fuzz_gpu_commands() {
    const KINDS: [u32; 12] = [
        RESOURCE_CREATE_2D,
        RESOURCE_UNREF,
        SET_SCANOUT,
        RESOURCE_FLUSH,
        TRANSFER_TO_HOST_2D,
        RESOURCE_ATTACH_BACKING,
        RESOURCE_DETACH_BACKING,
        GET_EDID,
        UPDATE_CURSOR,
        MOVE_CURSOR,
        GET_DISPLAY_INFO,
        0x1ff,
    ];
    bolero::check!().with_test_time(std::time::Duration::from_secs(2)).for_each(|input: &[u8]| {
        let mut machine = machine();
        for bytes in input.chunks(10).take(64) {
            let word = |byte: &u8| match byte >> 6 {
                0 | 1 => u32::from(byte & 0x7f),
                2 => 1 << (byte & 0x1f),
                _ => u32::MAX - u32::from(byte & 0x3f),
            };
            let words: Vec<u32> = bytes[1..].iter().map(word).collect();
            machine.command(KINDS[usize::from(bytes[0]) % KINDS.len()], &words);
        }
        let picture = machine.screen.picture();
        assert_eq!(picture.pixels.len(), picture.width * picture.height * 3);
        assert!(picture.pixels.len() <= 12_288_000 && lock(&machine.state).resources.count().1 <= MOST_BYTES);
    });
}
