//! The machine that installs: Debian's kernel with a shell, the disk to be, and the packages.

use super::payload::Taken;
use crate::image::modules;
use crate::image::root::Root;
use crate::progress::{Progress, Step};
use anyhow::{Context, Result, bail, ensure};
use ireko_machine::spec::MIB;
use ireko_machine::{DiskSpec, Endpoints, EngineChoice, Outcome, Source, Spec, Vm};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

const MEMORY: u64 = 1024 * MIB;
/// Drivers of its disks and of the EFI system partition.
const MODULES: [&str; 6] = ["virtio_pci", "virtio_blk", "vfat", "nls_cp437", "nls_ascii", "crc32c_intel"];
/// By the ends of their paths.
const PROGRAMS: [&str; 4] = ["bin/busybox", "sbin/mke2fs", "sbin/mkfs.fat", "etc/mke2fs.conf"];
/// The packages with the libraries of these.
const LIBRARIES: [&str; 5] = ["libc6_", "libext2fs2", "libblkid1", "libuuid1", "libcom-err2"];

/// Whether the machine may need a package's file.
pub fn is_part(package: &Path, path: &str) -> bool {
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    let library = path.contains(".so") && LIBRARIES.iter().any(|start| name.starts_with(start));
    let module = modules::name_of(path).is_some_and(|name| is_driver(&name));
    path.starts_with("boot/vmlinuz-") || library || module || PROGRAMS.iter().any(|end| path.ends_with(end))
}

/// One of those that are wanted, or what they may depend on.
fn is_driver(name: &str) -> bool {
    MODULES.contains(&name) || name.starts_with("virtio") || name == "fat"
}

/// Runs it until the disk is made.
pub fn run(taken: &Taken, disk: &Path, payload: &Path) -> Result<()> {
    let heard = Arc::new(Mutex::new(Heard::default()));
    let screen = Screen { heard: heard.clone(), line: Vec::new(), progress: Progress::new() };
    let mut vm = Vm::new(spec(taken, disk, payload)?.resolved()?, Endpoints::serial(screen))?;
    let outcome = vm.run();
    drop(vm);
    let heard = lock(&heard);
    if heard.done && outcome == Outcome::PowerOff {
        return Ok(());
    }
    let lines: Vec<&str> = heard.last.iter().map(String::as_str).collect();
    match &heard.failed {
        Some(why) => bail!("the system was not made: {why}; it said last:\n{}", lines.join("\n")),
        None => bail!("the system was not made: {outcome}; it said last:\n{}", lines.join("\n")),
    }
}

fn spec(taken: &Taken, disk: &Path, payload: &Path) -> Result<Spec> {
    let bytes = |name: &str, data: Vec<u8>| Source::Bytes { name: name.into(), data: Arc::new(data) };
    let kernel = taken.kernel.clone().context("the packages have no kernel")?;
    let mut spec = Spec::new(bytes("the system's kernel", kernel));
    spec.initrd = Some(bytes("what installs the system", root(taken)?));
    spec.command_line =
        "console=ttyS0 panic=-1 quiet loglevel=3 random.trust_cpu=on no_timer_check mitigations=off".into();
    spec.memory = MEMORY;
    spec.vcpus = processors()?;
    spec.disks = vec![DiskSpec::new(disk, false), DiskSpec::new(payload, true)];
    spec.on_thread = ireko_jail::thread::confining();
    Ok(spec)
}

/// Two, where the engine has them: modules of Python are compiled beside all the rest.
fn processors() -> Result<u32> {
    let chosen = ireko_machine::engine::choose(EngineChoice::Auto, false)?;
    Ok(chosen.hypervisor.caps().max_vcpus.min(2))
}

/// Its root file system.
fn root(taken: &Taken) -> Result<Vec<u8>> {
    const LOADER: &str = "ld-linux-x86-64.so.2";
    let mut root = Root::new();
    root.program("init", include_bytes!("install.sh"));
    root.data("own/configure.sh", include_bytes!("configure.sh"));
    for end in PROGRAMS {
        let found = taken.programs.iter().find(|(path, _)| path.ends_with(end));
        let (_, data) = found.with_context(|| format!("the packages have no {end}"))?;
        let name = end.rsplit('/').next().unwrap_or(end);
        root.program(&if name == "busybox" { end.to_owned() } else { format!("own/{name}") }, data);
    }
    let order = modules::load_order(&MODULES, &taken.modules)?;
    ensure!(order.iter().any(|name| name == "virtio_blk"), "the kernel's package has no driver virtio_blk");
    root.data(
        "lib/modules/order",
        order.iter().map(|name| format!("{name}\n")).collect::<String>().as_bytes(),
    );
    for name in &order {
        root.data(&format!("lib/modules/{name}.ko"), &taken.modules[name]);
    }
    let programs = taken.programs.iter().map(|(path, data)| (path.as_str(), data.as_slice()));
    for (name, data) in taken.libraries.needed_by(programs)? {
        root.program(&format!("lib/{name}"), data);
    }
    root.link(&format!("lib64/{LOADER}"), &format!("/lib/{LOADER}"));
    Ok(root.finish())
}

/// Lines of what it says that are kept for the case that it fails.
const KEPT: usize = 30;

#[derive(Default)]
struct Heard {
    done: bool,
    failed: Option<String>,
    last: VecDeque<String>,
    step: Option<Step>,
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(|e| e.into_inner())
}

/// Its console.
struct Screen {
    heard: Arc<Mutex<Heard>>,
    line: Vec<u8>,
    progress: Progress,
}

impl Screen {
    fn hear(&self, line: &str) {
        let mut heard = lock(&self.heard);
        let Some(word) = line.strip_prefix("ireko: ") else {
            heard.last.push_back(line.to_owned());
            if heard.last.len() > KEPT {
                heard.last.pop_front();
            }
            return;
        };
        heard.step = None;
        match word.split_once(' ') {
            Some(("step", what)) => heard.step = Some(self.progress.step(what)),
            Some(("failed:", why)) => heard.failed = Some(why.to_owned()),
            _ => heard.done |= word == "done",
        }
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        const LONGEST: usize = 1000;
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
                    self.line.clear();
                    self.hear(&line);
                }
                byte if self.line.len() < LONGEST => self.line.push(byte),
                _ => (),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_says_is_heard_line_by_line() {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let mut screen = Screen { heard: heard.clone(), line: Vec::new(), progress: Progress::new() };
        screen.write_all(b"words\r\nireko: fai").unwrap();
        screen.write_all(b"led: no disk\r\nireko: done\n").unwrap();
        let heard = lock(&heard);
        assert_eq!((heard.failed.as_deref(), heard.done), (Some("no disk"), true));
        assert_eq!(heard.last, ["words"]);
    }
}
