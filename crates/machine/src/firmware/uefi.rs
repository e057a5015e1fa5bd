//! UEFI firmware: code, and flash memory with variables before it.

use super::variable_store;
use crate::layout::FIRMWARE_END;
use crate::spec::MIB;
use crate::{MachineError, Source, Variables, boot};
use ireko_devices::Flash;
use ireko_vmcore::{Memory, OnThread, Work};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, mpsc};

/// Code and variables together (OVMF's 2 and 4 MiB builds).
const SIZES: [usize; 2] = [2 << 20, 4 << 20];
/// Variables of the build of 4 MiB, which secure boot takes, and of that of 2 MiB, which everything else does.
const OF_SECURE_BOOT: usize = 528 << 10;
const WITHOUT_SECURE_BOOT: usize = 128 << 10;

pub struct Uefi {
    code: Arc<Vec<u8>>,
    variables: Arc<Vec<u8>>,
    file: Arc<File>,
    secure_boot: bool,
}

impl Uefi {
    /// With `secure_boot` variables are written in system-management mode only.
    pub fn read(code: &Source, variables: &Variables, secure_boot: bool) -> Result<Self, MachineError> {
        let (name, file) = (variables.name.clone(), variables.file.clone());
        let read = |source: &Source, what| source.read(what, SIZES[1] as u64);
        let content =
            read(&Source::Open { name: name.clone(), file: file.clone() }, "file of UEFI variables")?;
        let (code_name, code) = (code.name(), read(code, "firmware")?);
        let (code_size, variables_size) = (code.len(), content.len());
        if !SIZES.contains(&(code_size + variables_size)) || variables_size == 0 || code_size < variables_size
        {
            return Err(match (secure_boot, variables_size) {
                (false, OF_SECURE_BOOT) => MachineError::VariablesOfSecureBoot { name },
                (true, WITHOUT_SECURE_BOOT) => MachineError::VariablesWithoutSecureBoot { name },
                _ => {
                    let code = code_name;
                    MachineError::FlashSize { code, code_size, variables: name, variables_size }
                }
            });
        }
        variable_store::check(&content).map_err(|damage| MachineError::VariablesDamaged { name, damage })?;
        Ok(Self { code, variables: content, file, secure_boot })
    }

    pub fn secure_boot(&self) -> bool {
        self.secure_boot
    }

    /// With less, OVMF stops without a word.
    pub fn check_memory(memory: u64) -> Result<(), MachineError> {
        const LEAST_MIB: u64 = 32;
        match memory >= LEAST_MIB * MIB {
            true => Ok(()),
            false => Err(MachineError::MemoryTooSmall { has_bytes: memory, least_mib: LEAST_MIB }),
        }
    }

    /// Of the code, which is RAM.
    pub fn size(&self) -> u64 {
        self.code.len() as u64
    }

    pub fn load(&self, memory: &Memory) -> Result<(), MachineError> {
        if self.secure_boot {
            memory.guard(self.place()..FIRMWARE_END - self.size());
        }
        boot::put(memory.ram(), FIRMWARE_END - self.size(), &self.code)
    }

    /// The variables, right before the code. They are kept by a thread of their own, which begins with `first`: a virtual processor's
    /// may not write to files.
    pub fn flash(&self, first: &OnThread) -> Result<(Flash, u64), MachineError> {
        let mut writer = VariableWriter::start(self.file.clone(), first.clone())
            .map_err(|error| MachineError::Platform(format!("no thread for UEFI's variables: {error}")))?;
        let keep = Box::new(move |at, data: &[u8]| writer.write(at, data));
        Ok((Flash::new(self.variables.to_vec(), keep), self.place()))
    }

    /// Where the variables are.
    fn place(&self) -> u64 {
        FIRMWARE_END - self.size() - self.variables.len() as u64
    }
}

/// Writes to a file for others, who wait for it. Its thread ends with it.
struct VariableWriter {
    requests: mpsc::SyncSender<(u64, Vec<u8>)>,
    answers: mpsc::Receiver<io::Result<()>>,
}

impl VariableWriter {
    fn start(file: Arc<File>, first: OnThread) -> io::Result<Self> {
        let (requests, requested) = mpsc::sync_channel::<(u64, Vec<u8>)>(0);
        let (answer, answers) = mpsc::sync_channel(1);
        std::thread::Builder::new().name("variables".into()).spawn(move || {
            first.begin(Work::Disk);
            for (at, data) in requested {
                if answer.send(file.write_all_at(&data, at)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { requests, answers })
    }

    fn write(&mut self, at: u64, data: &[u8]) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.requests.send((at, data.to_vec())).map_err(|_| gone())?;
        self.answers.recv().unwrap_or_else(|_| Err(gone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(size: usize) -> Source {
        Source::Bytes { name: "code".into(), data: Arc::new(vec![0; size]) }
    }

    fn variables(size: u64) -> Variables {
        let file = rustix::fs::memfd_create("vars", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, size).unwrap();
        Variables { name: "vars".into(), file: Arc::new(file.into()) }
    }

    #[test]
    fn too_little_memory_says_the_minimum() {
        assert!(Uefi::check_memory(16 << 20).unwrap_err().to_string().contains("at least 32 MiB"));
    }

    #[test]
    fn variables_lie_before_the_code_which_ends_at_4_gib() {
        let uefi = Uefi::read(&source((4 << 20) - 0x8_4000), &variables(0x8_4000), false).unwrap();
        assert_eq!(uefi.flash(&OnThread::default()).unwrap().1, 0xffc0_0000);
    }

    #[test]
    fn a_cut_file_of_variables_is_refused_with_both_sizes() {
        let error = refused((4 << 20) - 0x8_4000, &variables(1000), false);
        assert!(error.contains("(3653632 bytes)") && error.contains("(1000 bytes)"), "{error}");
    }

    fn refused(code: usize, variables: &Variables, secure_boot: bool) -> String {
        Uefi::read(&source(code), variables, secure_boot).err().unwrap().to_string()
    }

    #[test]
    fn variables_of_secure_boot_are_refused_without_it_for_that() {
        let said = refused((2 << 20) - 0x2_0000, &variables(0x8_4000), false);
        assert!(said.contains("`vars` are those of UEFI with secure boot"), "{said}");
    }

    #[test]
    fn variables_without_secure_boot_are_refused_with_it_for_that() {
        let said = refused((4 << 20) - 0x8_4000, &variables(0x2_0000), true);
        assert!(said.contains("`vars` are those of UEFI without secure boot"), "{said}");
    }

    #[test]
    fn damaged_variables_are_named_with_what_to_do() {
        let damaged = variables(0x2_0000);
        damaged.file.write_all_at(b"noise", 0).unwrap();
        let said = refused((2 << 20) - 0x2_0000, &damaged, false);
        assert!(
            said.contains("`vars` is damaged: it does not begin") && said.contains("remove it"),
            "{said}"
        );
    }

    #[test]
    fn what_the_guest_programs_is_in_the_file() {
        use ireko_vmcore::Device;
        let variables = variables(0x8_4000);
        let uefi = Uefi::read(&source((4 << 20) - 0x8_4000), &variables, false).unwrap();
        let (mut flash, _) = uefi.flash(&OnThread::default()).unwrap();
        [0x10, 7, 0xff].into_iter().for_each(|byte| flash.write(0, 100, &[byte]));
        let mut byte = [0];
        variables.file.read_exact_at(&mut byte, 100).unwrap();
        assert_eq!(byte, [7]);
    }
}
