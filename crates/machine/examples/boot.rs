//! Boots one kernel with its serial console on standard output: `boot [options] KERNEL [INITRD [COMMAND LINE]]`, where the
//! options are `--bios FILE` or `--uefi CODE VARS` or `--secure-uefi CODE VARS` (instead of a kernel), `--engine NAME`, `--memory SIZE`, `--vcpus N`, `--nested`, `--test-devices`, `--disk FILE[,bus=NAME]`, `--cdrom FILE`, `--option NAME=VALUE`
//! and `--stop-after SECONDS`. With IREKO_DUMP set, it prints processors and device counters at the end.

use ireko_machine::{DiskSpec, Endpoints, Firmware, MachineError, Spec, Variables, Vm, parse_memory};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What to boot, and when to stop it.
fn arguments() -> Result<(Spec, Option<Duration>), MachineError> {
    let mut spec = Spec::new(PathBuf::new());
    let mut stop_after = None;
    let mut files = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--engine" => spec.engine = value().parse()?,
            "--memory" => spec.memory = parse_memory(&value())?,
            "--vcpus" => spec.vcpus = value().parse().unwrap_or(0),
            "--option" => spec.options.push(value()),
            "--stop-after" => stop_after = value().parse().ok().map(Duration::from_secs),
            "--disk" => spec.disks.push(DiskSpec::parse(&value())?),
            "--cdrom" => spec.disks.push(DiskSpec::cd(value())),
            "--bios" => {
                spec.firmware =
                    Some(Firmware::Bios { image: PathBuf::from(value()).into(), video: None, network: None })
            }
            "--uefi" => spec.firmware = Some(uefi(value(), value(), false)),
            "--secure-uefi" => spec.firmware = Some(uefi(value(), value(), true)),
            "--nested" => spec.nested = true,
            "--test-devices" => spec.test_devices = true,
            _ => files.push(argument),
        }
    }
    let mut files = files.into_iter();
    let without = spec.firmware.is_some();
    spec.kernel = (!without).then(|| PathBuf::from(files.next().unwrap_or_default()).into());
    spec.initrd = files.next().filter(|f| !f.is_empty()).map(|f| PathBuf::from(f).into());
    spec.command_line = files.next().unwrap_or_default();
    Ok((spec, stop_after))
}

/// Firmware and a file of its variables.
fn uefi(code: String, variables: String, secure_boot: bool) -> Firmware {
    let file =
        std::fs::File::options().read(true).write(true).open(&variables).expect("the file of variables");
    let variables = Variables { name: variables, file: Arc::new(file) };
    Firmware::Uefi { code: PathBuf::from(code).into(), variables, secure_boot }
}

fn boot() -> Result<u8, MachineError> {
    let (spec, stop_after) = arguments()?;
    let mut endpoints = Endpoints::serial(std::io::stdout());
    if std::env::var_os("IREKO_FIRMWARE_DEBUG").is_some() {
        endpoints.firmware_debug = Some(Box::new(std::io::stderr()));
    }
    let mut vm = Vm::new(spec, endpoints)?;
    eprintln!("engine {:?}", vm.engine());
    if let Some(time) = stop_after {
        let handle = vm.handle();
        std::thread::spawn(move || {
            std::thread::sleep(time);
            handle.stop();
        });
    }
    let handle = vm.handle();
    std::thread::spawn(move || {
        let mut bytes = [0; 256];
        while let Ok(count @ 1..) = std::io::stdin().read(&mut bytes) {
            handle.serial_input(&bytes[..count]);
        }
    });
    let handle = vm.handle();
    let outcome = vm.run();
    eprintln!("{outcome}");
    if std::env::var_os("IREKO_DUMP").is_some() {
        eprintln!("{}", handle.dump());
    }
    Ok(outcome.exit_code())
}

fn main() {
    let code = boot().unwrap_or_else(|error| {
        eprintln!("error: {error}");
        1
    });
    std::process::exit(code.into());
}
