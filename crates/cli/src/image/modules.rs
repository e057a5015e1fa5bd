//! Kernel modules: what each depends on, as its `.modinfo` section says, and the order to load them in.
//! (`modules.dep` is made at installation, so a package does not have it.)

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;

/// Modules by name, with `_` for `-` as the kernel has it.
pub type Modules = BTreeMap<String, Vec<u8>>;

/// A module's name from its path.
pub fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    Some(file.strip_suffix(".ko")?.replace('-', "_"))
}

/// `wanted` and all they depend on, every module after those it needs. Wanted ones that do not exist are left out
/// (they are built in, or not made for this kernel); a dependency that does not exist is an error.
pub fn load_order(wanted: &[&str], modules: &Modules) -> Result<Vec<String>> {
    let mut order = Vec::new();
    for name in wanted {
        if modules.contains_key(*name) {
            visit(name, modules, &mut order, &mut Vec::new())?;
        }
    }
    Ok(order)
}

fn visit(name: &str, modules: &Modules, order: &mut Vec<String>, path: &mut Vec<String>) -> Result<()> {
    if order.iter().any(|done| done == name) {
        return Ok(());
    }
    if path.iter().any(|above| above == name) {
        bail!("the kernel module {name} depends on itself");
    }
    let module = modules.get(name).with_context(|| {
        format!("the kernel package lacks the module {name}, which {} needs", path.join(" and "))
    })?;
    path.push(name.to_owned());
    for needed in depends(module) {
        visit(&needed, modules, order, path)?;
    }
    path.pop();
    order.push(name.to_owned());
    Ok(())
}

/// The `depends=` entry of a module.
fn depends(module: &[u8]) -> Vec<String> {
    let section = section(module, ".modinfo").unwrap_or_default();
    section
        .split(|&byte| byte == 0)
        .find_map(|entry| entry.strip_prefix(b"depends="))
        .map(|list| {
            String::from_utf8_lossy(list)
                .split(',')
                .filter(|name| !name.is_empty())
                .map(|name| name.replace('-', "_"))
                .collect()
        })
        .unwrap_or_default()
}

/// A section of an ELF64 file by name.
fn section<'a>(elf: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let headers = u64_at(elf, 0x28)?;
    let (size, count, names) = (u16_at(elf, 0x3a)?, u16_at(elf, 0x3c)?, u16_at(elf, 0x3e)?);
    let header = |index: u16| headers.checked_add(u64::from(index) * u64::from(size));
    let names = contents(elf, header(names)?)?;
    (0..count).find_map(|index| {
        let at = header(index)?;
        let name = names.get(u32_at(elf, at)? as usize..)?;
        let name = name.split(|&byte| byte == 0).next()?;
        (name == wanted.as_bytes()).then(|| contents(elf, at))?
    })
}

fn contents(elf: &[u8], header: u64) -> Option<&[u8]> {
    let start = u64_at(elf, header.checked_add(0x18)?)?;
    let size = u64_at(elf, header.checked_add(0x20)?)?;
    elf.get(start as usize..start.checked_add(size)? as usize)
}

fn bytes_at<const N: usize>(elf: &[u8], at: u64) -> Option<[u8; N]> {
    let at = usize::try_from(at).ok()?;
    elf.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(elf: &[u8], at: u64) -> Option<u16> {
    bytes_at(elf, at).map(u16::from_le_bytes)
}
fn u32_at(elf: &[u8], at: u64) -> Option<u32> {
    bytes_at(elf, at).map(u32::from_le_bytes)
}
fn u64_at(elf: &[u8], at: u64) -> Option<u64> {
    bytes_at(elf, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF64 file with a .modinfo and a .shstrtab.
    fn module(depends: &str) -> Vec<u8> {
        let info = format!("license=GPL\0depends={depends}\0name=x\0");
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut elf = vec![0; 0x40];
        let info_at = elf.len() as u64;
        elf.extend_from_slice(info.as_bytes());
        let names_at = elf.len() as u64;
        elf.extend_from_slice(names);
        let headers = elf.len() as u64;
        elf[0x28..0x30].copy_from_slice(&headers.to_le_bytes());
        elf[0x3a..0x3c].copy_from_slice(&64u16.to_le_bytes());
        elf[0x3c..0x3e].copy_from_slice(&2u16.to_le_bytes());
        elf[0x3e..0x40].copy_from_slice(&1u16.to_le_bytes());
        for (name, at, size) in [(1u32, info_at, info.len()), (10, names_at, names.len())] {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&at.to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
            elf.extend_from_slice(&header);
        }
        elf
    }

    fn modules(list: &[(&str, &str)]) -> Modules {
        list.iter().map(|(name, depends)| (name.to_string(), module(depends))).collect()
    }

    #[test]
    fn modules_come_after_what_they_need_and_once() {
        let all = modules(&[
            ("kvm_amd", "kvm,ccp"),
            ("kvm", "irqbypass"),
            ("irqbypass", ""),
            ("ccp", ""),
            ("kvm_intel", "kvm"),
            ("unrelated", ""),
        ]);
        let order = load_order(&["kvm_amd", "kvm_intel"], &all).unwrap();
        assert_eq!(order, ["irqbypass", "kvm", "ccp", "kvm_amd", "kvm_intel"]);
    }

    #[test]
    fn what_is_built_in_is_left_out() {
        assert!(load_order(&["virtio_rng"], &Modules::new()).unwrap().is_empty());
    }

    #[test]
    fn a_missing_dependency_is_named() {
        let error = load_order(&["kvm"], &modules(&[("kvm", "irqbypass")])).unwrap_err().to_string();
        assert!(error.contains("irqbypass, which kvm needs"), "{error}");
    }

    #[test]
    fn a_circle_is_an_error() {
        assert!(load_order(&["a"], &modules(&[("a", "b"), ("b", "a")])).is_err());
    }

    #[test]
    fn names_have_underscores() {
        assert_eq!(name_of("lib/modules/6/kernel/kvm-amd.ko").as_deref(), Some("kvm_amd"));
        assert_eq!(name_of("lib/modules/6/modules.order"), None);
    }

    #[test]
    fn a_file_that_is_cut_short_has_no_dependencies() {
        let whole = module("kvm");
        for end in 0..whole.len() {
            assert!(depends(&whole[..end]).len() <= 1);
        }
    }
}
