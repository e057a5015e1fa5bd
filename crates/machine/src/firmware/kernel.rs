//! Kernels that firmware starts: given to it by fw_cfg, to UEFI as they are, to a BIOS with an option ROM that loads them.

use super::option_rom::{self, Entry, Transfer};
use crate::image::bytes::{u8_at, u32_at};
use crate::image::bzimage::{self, field};
use crate::image::real_mode::{RealMode, since};
use crate::image::{Protocol, foreign, gzip};
use crate::layout::Layout;
use crate::spec::MIB;
use crate::{MachineError, Source, Spec};
use ireko_devices::fw_cfg::key;
use std::sync::Arc;

/// What SeaBIOS keeps for itself at the end of memory, and more.
const OF_THE_BIOS: u64 = MIB;
const PAGE: u64 = 0x1000;
const HIGH: u64 = MIB;
const LOW: u64 = 0x1_0000;
/// "A loader that has no number" (boot protocol, type_of_loader).
const LOADER_UNKNOWN: u8 = 0xff;

/// A kernel for firmware, with what belongs to it.
pub struct Loadable {
    name: String,
    bytes: Arc<Vec<u8>>,
    initrd: Option<(String, Arc<Vec<u8>>)>,
    command_line: String,
}

/// What fw_cfg gets for it.
#[derive(Default)]
pub struct Items {
    pub numbered: Vec<(u16, Vec<u8>)>,
    pub option_rom: Option<Vec<u8>>,
}

impl Loadable {
    /// If there is one.
    pub fn read(spec: &Spec) -> Result<Option<Self>, MachineError> {
        let Some(source) = &spec.kernel else { return Ok(None) };
        let name = source.name();
        if let Some(wanted) = spec.protocol.filter(|protocol| *protocol != Protocol::Linux) {
            return Err(MachineError::ProtocolMissing { name, wanted });
        }
        if let Some(module) = spec.modules.first() {
            return Err(MachineError::NoModules { module: module.source.name(), kernel: name });
        }
        let mut bytes = source.read("kernel", spec.memory)?;
        if gzip::is(&bytes) {
            bytes = Arc::new(gzip::unpack(&name, &bytes, spec.memory)?);
        }
        if !bzimage::is(&bytes) {
            let found = foreign::describe(&bytes).into();
            return Err(MachineError::NotForFirmware { name, found });
        }
        let read =
            |source: &Source| Ok::<_, MachineError>((source.name(), source.read("initrd", spec.memory)?));
        let initrd = spec.initrd.as_ref().map(read).transpose()?;
        Ok(Some(Self { name, bytes, initrd, command_line: spec.command_line.clone() }))
    }

    /// UEFI loads the file with its stub as a program of its own. With secure boot OVMF does so only for what its `db` knows, and for all
    /// others falls back on Linux's boot protocol, where it forgets to say that there is a loader: Linux takes no initrd then.
    pub fn for_uefi(&self, secure_boot: bool) -> Result<Items, MachineError> {
        const PROGRAM: &[u8] = b"MZ";
        if !self.bytes.starts_with(PROGRAM) {
            return Err(self.bad("it has no EFI stub, by which UEFI would start it"));
        }
        let kernel = RealMode::parse(&self.name, &self.bytes)?;
        let (setup, body) = self.bytes.split_at(kernel.setup_size);
        let mut setup = setup.to_vec();
        if secure_boot {
            setup[field::TYPE_OF_LOADER] = LOADER_UNKNOWN;
        }
        let mut items = Items::default();
        items.add(key::SETUP_SIZE, key::SETUP_DATA, &setup);
        items.add(key::KERNEL_SIZE, key::KERNEL_DATA, body);
        items.add(key::COMMAND_LINE_SIZE, key::COMMAND_LINE_DATA, &zero_ended(&self.command_line));
        if let Some((_, data)) = &self.initrd {
            items.add(key::INITRD_SIZE, key::INITRD_DATA, data);
        }
        Ok(items)
    }

    /// Whether OVMF's loader for Linux gets along with so much memory: with less it jumps to where no kernel is. As tried with the build
    /// of Debian 12: it keeps up to three copies of kernel and initrd, in pieces, and takes the room in which the kernel unpacks itself.
    pub fn check_memory_for_secure_boot(&self, memory: u64) -> Result<(), MachineError> {
        let size = |data: &[u8]| data.len() as u64;
        let unpacked = u32_at(&self.bytes, field::INIT_SIZE).map_or(0, u64::from);
        let initrd = self.initrd.as_ref().map_or(0, |(_, data)| size(data));
        let least = 96 * MIB + 2 * (unpacked + size(&self.bytes)) + 4 * initrd;
        if memory >= least {
            return Ok(());
        }
        let (needs_mib, has_mib) = (least.div_ceil(2 * MIB) * 2, memory / MIB);
        Err(MachineError::TooSmallForSecureBoot { name: self.name.clone(), needs_mib, has_mib })
    }

    /// A BIOS runs an option ROM, which fetches the parts and enters the kernel in real mode.
    pub fn for_bios(&self, layout: &Layout) -> Result<Items, MachineError> {
        let kernel = RealMode::parse(&self.name, &self.bytes)?;
        let addresses = LoadAddresses::of(&kernel);
        let limit = kernel.command_line_max.min(addresses.command_line_room);
        if self.command_line.len() > limit {
            return Err(MachineError::CommandLineTooLong { length: self.command_line.len(), limit });
        }
        let (setup, body) = self.bytes.split_at(kernel.setup_size);
        let end = self.body_end(&kernel, &addresses, body, layout)?;
        let initrd = self.initrd_place(&kernel, end, layout)?;
        let setup = told(setup.to_vec(), &kernel, &addresses, initrd);
        let mut items = Items::default();
        let mut transfers = Vec::new();
        let mut load = |size, data, address, content: &[u8]| {
            items.add(size, data, content);
            transfers.push(Transfer { key: data, address, length: content.len() as u32 });
        };
        load(key::SETUP_SIZE, key::SETUP_DATA, addresses.setup, &setup);
        load(
            key::COMMAND_LINE_SIZE,
            key::COMMAND_LINE_DATA,
            addresses.command_line,
            &zero_ended(&self.command_line),
        );
        load(key::KERNEL_SIZE, key::KERNEL_DATA, addresses.body, body);
        if let (Some((_, data)), Some((address, _))) = (&self.initrd, initrd) {
            load(key::INITRD_SIZE, key::INITRD_DATA, address, data);
        }
        let entry = Entry { segment: (addresses.setup >> 4) as u16, stack: addresses.stack };
        items.option_rom = Some(option_rom::make(&transfers, &entry));
        Ok(items)
    }

    fn bad(&self, why: &str) -> MachineError {
        MachineError::BadKernel { name: self.name.clone(), why: why.into() }
    }

    /// The first address behind the kernel.
    fn body_end(
        &self,
        kernel: &RealMode,
        addresses: &LoadAddresses,
        body: &[u8],
        layout: &Layout,
    ) -> Result<u64, MachineError> {
        let end = addresses.body + body.len() as u64;
        if !kernel.high && end > addresses.setup {
            return Err(self.bad("it is too large for the memory below 576 KiB, where its kind is loaded"));
        }
        if end + OF_THE_BIOS > layout.low_end {
            let needs_mib = (end + OF_THE_BIOS).div_ceil(2 * MIB) * 2;
            let (name, has_mib) = (self.name.clone(), layout.memory() / MIB);
            return Err(MachineError::KernelTooLarge { name, needs_mib, has_mib });
        }
        Ok(end)
    }

    /// Address and size: as high as kernel and BIOS let it.
    fn initrd_place(
        &self,
        kernel: &RealMode,
        end: u64,
        layout: &Layout,
    ) -> Result<Option<(u64, u64)>, MachineError> {
        let Some((name, data)) = &self.initrd else { return Ok(None) };
        let size = data.len() as u64;
        let ceiling = (layout.low_end - OF_THE_BIOS).min(kernel.initrd_max + 1);
        let floor = end.max(HIGH).next_multiple_of(PAGE);
        let address = ceiling.checked_sub(size).map(|at| at & !(PAGE - 1)).filter(|at| *at >= floor);
        match address {
            Some(address) => Ok(Some((address, size))),
            None => Err(MachineError::InitrdTooLarge {
                name: name.clone(),
                size_mib: size.div_ceil(MIB),
                room_mib: ceiling.saturating_sub(floor) / MIB,
                memory_mib: layout.memory() / MIB,
            }),
        }
    }
}

impl Items {
    /// A size, and the bytes.
    fn add(&mut self, size: u16, data: u16, content: &[u8]) {
        self.numbered.push((size, (content.len() as u32).to_le_bytes().to_vec()));
        self.numbered.push((data, content.to_vec()));
    }
}

fn zero_ended(text: &str) -> Vec<u8> {
    text.bytes().filter(|byte| *byte != 0).chain([0]).collect()
}

/// Where a kernel's parts go (boot protocol, "Memory Layout").
struct LoadAddresses {
    setup: u64,
    body: u64,
    command_line: u64,
    command_line_room: usize,
    /// The stack's end in the setup's segment; what is below it is heap.
    stack: u16,
}

impl LoadAddresses {
    fn of(kernel: &RealMode) -> Self {
        const OLD_COMMAND_LINE: u64 = 0xa000;
        if kernel.high && kernel.version >= since::COMMAND_LINE {
            let (setup, command_line) = (LOW, 2 * LOW);
            return Self { setup, body: HIGH, command_line, command_line_room: 0xffff, stack: 0xe000 };
        }
        let setup = 0x9_0000;
        Self {
            setup,
            body: if kernel.high { HIGH } else { LOW },
            command_line: setup + OLD_COMMAND_LINE,
            command_line_room: 0xfff,
            stack: OLD_COMMAND_LINE as u16,
        }
    }
}

/// The setup with what a loader writes into its header (boot protocol, "Details of Header Fields").
fn told(
    mut setup: Vec<u8>,
    kernel: &RealMode,
    addresses: &LoadAddresses,
    initrd: Option<(u64, u64)>,
) -> Vec<u8> {
    const CAN_USE_HEAP: u8 = 1 << 7;
    const OLD_MAGIC: u32 = 0xa33f;
    /// The heap's end counts from the setup's second sector.
    const HEAP_BASE: u16 = 0x200;
    let mut put = |at: usize, value: u32, size: usize| {
        setup[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
    };
    put(field::TYPE_OF_LOADER, LOADER_UNKNOWN.into(), 1);
    if let Some((address, size)) = initrd {
        put(field::RAMDISK_IMAGE, address as u32, 4);
        put(field::RAMDISK_SIZE, size as u32, 4);
    }
    if kernel.version >= since::COMMAND_LINE {
        put(field::CMD_LINE_PTR, addresses.command_line as u32, 4);
    } else {
        // Magic number, and the offset from the setup's start.
        put(0x20, OLD_MAGIC | ((addresses.command_line - addresses.setup) as u32) << 16, 4);
        put(field::SETUP_MOVE_SIZE, addresses.stack.into(), 2);
    }
    if kernel.version >= since::HEAP {
        put(field::HEAP_END_PTR, (addresses.stack - HEAP_BASE).into(), 2);
        let flags = u8_at(&setup, field::LOADFLAGS).unwrap_or(0) | CAN_USE_HEAP;
        setup[field::LOADFLAGS] = flags;
    }
    setup
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::real_mode;
    use crate::layout::Board;

    fn loadable(bytes: Vec<u8>, initrd: usize) -> Loadable {
        let initrd = (initrd > 0).then(|| ("i".to_owned(), Arc::new(vec![7; initrd])));
        Loadable { name: "k".into(), bytes: Arc::new(bytes), initrd, command_line: "a b".into() }
    }

    fn layout() -> Layout {
        Layout::new(16 * MIB).unwrap().with_firmware(Board::I440fx, 256 << 10)
    }

    fn item(items: &Items, key: u16) -> &[u8] {
        &items.numbered.iter().find(|(other, _)| *other == key).unwrap().1
    }

    #[test]
    fn a_bios_gets_the_kernel_in_two_parts_and_a_rom() {
        let bytes = real_mode::sample();
        let items = loadable(bytes.clone(), 0).for_bios(&layout()).unwrap();
        assert_eq!(
            (item(&items, key::SETUP_DATA).len(), item(&items, key::KERNEL_DATA)),
            (1024, &bytes[1024..])
        );
        assert_eq!(item(&items, key::COMMAND_LINE_DATA), b"a b\0");
        assert!(items.option_rom.is_some());
    }

    #[test]
    fn the_setup_header_says_where_command_line_and_initrd_are() {
        let items = loadable(real_mode::sample(), 5000).for_bios(&layout()).unwrap();
        let setup = item(&items, key::SETUP_DATA);
        let fields =
            [field::CMD_LINE_PTR, field::RAMDISK_IMAGE, field::RAMDISK_SIZE].map(|at| u32_at(setup, at));
        assert_eq!(fields, [Some(0x2_0000), Some((15 << 20) - 0x2000), Some(5000)]);
    }

    #[test]
    fn the_oldest_protocols_have_their_command_line_behind_their_setup() {
        let mut bytes = real_mode::sample();
        bytes[field::VERSION..][..2].copy_from_slice(&[0, 2]);
        bytes[field::LOADFLAGS] = 0;
        let items = loadable(bytes, 0).for_bios(&layout()).unwrap();
        assert_eq!(u32_at(item(&items, key::SETUP_DATA), 0x20), Some(0xa000_a33f));
    }

    #[test]
    fn uefi_with_secure_boot_is_told_that_there_is_a_loader() {
        let mut bytes = real_mode::sample();
        bytes[..2].copy_from_slice(b"MZ");
        let setup = |secure_boot| {
            let items = loadable(bytes.clone(), 0).for_uefi(secure_boot).unwrap();
            item(&items, key::SETUP_DATA)[field::TYPE_OF_LOADER]
        };
        assert_eq!((setup(false), setup(true)), (0, 0xff));
    }

    #[test]
    fn with_secure_boot_a_kernel_and_its_initrd_want_memory_for_copies() {
        let large = loadable(real_mode::sample(), 50 << 20);
        let said = large.check_memory_for_secure_boot(256 * MIB).unwrap_err().to_string();
        assert!(said.contains("needs 302 MiB") && said.contains("has 256"), "{said}");
        assert!(large.check_memory_for_secure_boot(302 * MIB).is_ok());
    }

    #[test]
    fn an_initrd_larger_than_memory_is_refused() {
        let error = loadable(real_mode::sample(), 15 << 20).for_bios(&layout()).err().unwrap();
        assert!(matches!(error, MachineError::InitrdTooLarge { .. }), "{error:?}");
    }

    #[test]
    fn a_command_line_longer_than_the_protocol_takes_is_refused() {
        let long = Loadable { command_line: "x".repeat(256), ..loadable(real_mode::sample(), 0) };
        let error = long.for_bios(&layout()).err().unwrap();
        assert!(matches!(error, MachineError::CommandLineTooLong { limit: 255, .. }), "{error:?}");
    }

    /// Three bytes of a change over a good kernel: where, and what is there.
    #[test]
    fn fuzz_kernels_for_a_bios() {
        bolero::check!().with_test_time(std::time::Duration::from_secs(1)).for_each(|input: &[u8]| {
            let mut bytes = real_mode::sample();
            for change in input.chunks_exact(3) {
                let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
                bytes[at] = change[2];
            }
            let loadable = loadable(bytes, input.len());
            drop((loadable.for_bios(&layout()), loadable.for_uefi(false)));
        });
    }

    #[test]
    fn uefi_wants_an_efi_stub() {
        let error = loadable(real_mode::sample(), 0).for_uefi(false).err().unwrap().to_string();
        assert!(error.contains("no EFI stub"), "{error}");
    }
}
