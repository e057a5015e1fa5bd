//! What keeps a VM from being made. Each is one sentence with the value and what to do.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error(transparent)]
    Restore(#[from] ireko_vmcore::RestoreError),
    #[error("the machine cannot be saved: {0}")]
    Save(String),
    #[error(
        "the machine was saved on the engine {saved} and this one runs on the engine {here}, whose processor is another; use --engine {saved}"
    )]
    OtherEngine { saved: &'static str, here: &'static str },
    #[error("the machine is paused; resume it first")]
    Paused,
    #[error("the {what} `{name}` does not exist; check the path")]
    Missing { what: &'static str, name: String },
    #[error("the {what} `{name}` cannot be read: {why}")]
    Unreadable { what: &'static str, name: String, why: io::Error },
    #[error(
        "the {what} `{name}` is larger than the {memory_mib} MiB of memory that the VM has; give it more"
    )]
    FileTooLarge { what: &'static str, name: String, memory_mib: u64 },
    #[error(
        "`{name}` is not a kernel but {found}; give a Linux bzImage, a 64-bit ELF vmlinux, or a multiboot or PVH image"
    )]
    NotAKernel { name: String, found: String },
    #[error(
        "the kernel `{name}` cannot be started by the protocol {wanted}; leave --protocol out to have it started as it can be"
    )]
    ProtocolMissing { name: String, wanted: crate::image::Protocol },
    #[error(
        "the kernel `{name}` starts in real mode and asks a BIOS for what it needs; start it with `ireko run`, which gives it one, or use --firmware bios"
    )]
    NeedsBios { name: String },
    #[error(
        "firmware cannot start `{name}`, which is {found}; give it a Linux bzImage, or leave the firmware out"
    )]
    NotForFirmware { name: String, found: String },
    #[error("there is no boot protocol `{0}`; protocols are linux, pvh, multiboot and multiboot2")]
    UnknownProtocol(String),
    #[error(
        "the module `{module}` cannot be given to `{kernel}`, which is started by Linux's protocol; modules are for multiboot and PVH, and --initrd for Linux"
    )]
    NoModules { module: String, kernel: String },
    #[error("the kernel `{name}` is cut short: it has {has} bytes and says it needs {needs}; get it again")]
    CutShort { name: String, has: u64, needs: u64 },
    #[error("the kernel `{name}` cannot be started: {why}")]
    BadKernel { name: String, why: String },
    #[error(
        "the kernel `{name}` needs {needs_mib} MiB of memory and the VM has {has_mib} MiB; use --memory {needs_mib}M or more"
    )]
    KernelTooLarge { name: String, needs_mib: u64, has_mib: u64 },
    #[error(
        "the initrd `{name}` ({size_mib} MiB) does not fit in the {room_mib} MiB that the kernel leaves of {memory_mib} MiB; give the VM more memory"
    )]
    InitrdTooLarge { name: String, size_mib: u64, room_mib: u64, memory_mib: u64 },
    #[error("there is no disk controller `{0}`; use virtio, sata, ide, nvme or scsi")]
    UnknownBus(String),
    #[error("the CD `{disc}` cannot be behind {bus}, which has no drives; use ide, sata or scsi")]
    NoDrivesBehind { disc: String, bus: &'static str },
    #[error("the VM has neither a kernel nor firmware to start with; give it one of them")]
    NothingToStart,
    #[error(
        "the firmware `{name}` has {size} bytes, and a BIOS image has 128, 256 or 512 KiB; give SeaBIOS' bios-256k.bin"
    )]
    FirmwareSize { name: String, size: String },
    #[error(
        "the UEFI firmware `{code}` ({code_size} bytes) and its variables `{variables}` ({variables_size} bytes) do not belong together: they must have 2 or 4 MiB in all; give the VARS file of the same package, or let a new one be made"
    )]
    FlashSize { code: String, code_size: usize, variables: String, variables_size: usize },
    #[error(
        "the UEFI variables `{name}` are those of UEFI with secure boot, which has more of them; start with --secure-boot, or use another file of variables"
    )]
    VariablesOfSecureBoot { name: String },
    #[error(
        "the UEFI variables `{name}` are those of UEFI without secure boot, and have no keys; start without --secure-boot, or use another file of variables"
    )]
    VariablesWithoutSecureBoot { name: String },
    #[error(
        "the file of UEFI variables `{name}` is damaged: {damage}; put a copy of it back, or remove it, and the next start makes a new one"
    )]
    VariablesDamaged { name: String, damage: crate::firmware::Damage },
    #[error("the command line has {length} bytes and this kernel takes {limit}; shorten it")]
    CommandLineTooLong { length: usize, limit: usize },
    #[error("`{0}` is no amount of memory; write for example 512M or 2G")]
    MemoryText(String),
    #[error("{has_bytes} bytes of memory are too few: a VM needs at least {least_mib} MiB")]
    MemoryTooSmall { has_bytes: u64, least_mib: u64 },
    #[error(
        "with secure boot UEFI needs {needs_mib} MiB to start `{name}` and its initrd and the VM has {has_mib} MiB; give it more memory, or start from a disk"
    )]
    TooSmallForSecureBoot { name: String, needs_mib: u64, has_mib: u64 },
    #[error("memory must be a multiple of 2 MiB and {0} bytes are not; round it")]
    MemoryOdd(u64),
    #[error("the VM asks for {asked_mib} MiB of memory and this host has {free_mib} MiB free; ask for less")]
    MemoryBeyondHost { asked_mib: u64, free_mib: u64 },
    #[error("guest memory cannot be had: {0}")]
    Memory(io::Error),
    #[error("{asked} processors asked for; the {engine} engine gives 1 to {most}")]
    Processors { asked: u32, most: u32, engine: &'static str },
    #[error("there is no engine `{0}`; engines are auto, soft and kvm")]
    UnknownEngine(String),
    #[error("there is no CPU model `{0}`; `ireko cpus` lists those that there are")]
    UnknownCpu(String),
    #[error(
        "`{0}` is no change of a processor: write +FEATURE or -FEATURE with a feature's name, as in `amd,+la57,-rdtscp`"
    )]
    NoChange(String),
    #[error("there is no feature `{0}`; `ireko cpus --features` lists those that there are")]
    UnknownFeature(String),
    #[error(
        "`{0}` is not how a guest gets AMD-V or is kept from it; use --nested (of a VM: ExposeVirtualizationExtensions) or leave that out"
    )]
    ChangedNesting(String),
    #[error("the {engine} engine cannot be used: {why}")]
    EngineUnusable { engine: &'static str, why: String },
    #[error(
        "nested virtualization was asked for and the {engine} engine cannot give it ({why}); use --engine auto or leave --nested out"
    )]
    NestingImpossible { engine: &'static str, why: String },
    #[error(
        "secure boot was asked for and the {engine} engine has no system-management mode, which it needs; use --engine soft (of a managed VM: Set-VM -Engine soft) or leave secure boot out"
    )]
    NoSecureBoot { engine: &'static str },
    #[error(
        "the disk `{name}` is in use by {user}; end that, or give this virtual machine a disk of its own"
    )]
    DiskInUse { name: String, user: crate::lock::User },
    #[error("{0}")]
    UnknownFormat(String),
    #[error(transparent)]
    UnknownErrorPolicy(ireko_vmcore::disk_errors::NoErrorPolicy),
    #[error("a disk's read-only is `{0}`; use on or off")]
    ReadOnly(String),
    #[error("the disk `{name}` cannot be used: {why}")]
    Disk { name: String, why: String },
    #[error(
        "the disk `{name}` holds a {found} image and is not named like one; say whether that is the image or what a guest wrote: `,format={found}` or `,format=raw` behind the name"
    )]
    DiskFormat { name: String, found: ireko_storage::Format },
    #[error(
        "{what} do not fit in their {room} bytes of low memory ({size} bytes); use fewer processors or shorter strings"
    )]
    TablesTooLarge { what: &'static str, size: usize, room: usize },
    #[error("the machine cannot be put together: {0}")]
    Platform(String),
    #[error(transparent)]
    Engine(#[from] ireko_vmcore::HvError),
}
