//! IN, OUT, INS and OUTS: permission by IOPL and the TSS's bitmap first, then the hypervisor's permission map, then
//! memory, then the port (APM vol. 2, 12.2.5 and 15.10).

use super::repeat::{Form, Step};
use crate::cpu::Privilege;
use crate::{Cpu, Fault, Next};
use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use ireko_nested::IoExit;
use ireko_x86::bits::rflags;
use ireko_x86::regs::{gpr, seg};

/// Offset of the I/O map base in a 32-bit or 64-bit TSS.
const MAP_BASE: u64 = 0x66;
/// Descriptor types of available and busy TSSs with an I/O map.
const TSS: [u8; 2] = [0x9, 0xb];

/// #GP(0) unless the current privilege may use all `size` ports from `port` on.
fn permitted(cpu: &mut Cpu, port: u16, size: usize) -> Result<(), Fault> {
    let level = (cpu.processor.regs.rflags & rflags::IOPL) >> 12;
    if !cpu.processor.regs.protected()
        || (!cpu.processor.regs.v86() && u64::from(cpu.processor.regs.cpl) <= level)
    {
        return Ok(());
    }
    let task = cpu.processor.regs.tr;
    if !task.present() || !TSS.contains(&task.kind()) || u64::from(task.limit) < MAP_BASE + 1 {
        return Err(Fault::gp(0));
    }
    let map = cpu.load(task.base.wrapping_add(MAP_BASE), 2, Privilege::System)?;
    let byte = map + u64::from(port / 8);
    // Two bytes are read, because the ports may lie across a byte; so the limit must include the second one.
    if byte + 1 > u64::from(task.limit) {
        return Err(Fault::gp(0));
    }
    let bits = cpu.load(task.base.wrapping_add(byte), 2, Privilege::System)? >> (port & 7);
    if bits & ((1 << size) - 1) != 0 { Err(Fault::gp(0)) } else { Ok(()) }
}

/// Permission, then the hypervisor's word.
fn check(cpu: &mut Cpu, io: &IoExit) -> Result<(), Fault> {
    permitted(cpu, io.port, io.size.into())?;
    crate::intercept::io_intercept(cpu, io)
}

/// The exit information of IN and OUT; the port is an immediate byte or DX.
fn plain(cpu: &Cpu, insn: &Instruction, input: bool) -> IoExit {
    let (data, port) = if input { (0, 1) } else { (1, 0) };
    IoExit {
        port: match insn.op_kind(port) {
            OpKind::Immediate8 => insn.immediate8().into(),
            _ => cpu.gpr(Register::DX) as u16,
        },
        size: insn.op_register(data).size() as u8,
        input,
        string: false,
        rep: false,
        address_size: if cpu.processor.regs.code64() { 8 } else { 4 },
        segment: seg::DS as u8,
        next_rip: cpu.following(insn),
    }
}

pub fn r#in(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let io = plain(cpu, insn, true);
    check(cpu, &io)?;
    let value = cpu.port_read(io.port, io.size.into());
    cpu.set_gpr(insn.op0_register(), value.into());
    Ok(Next::Advance)
}

pub fn out(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let io = plain(cpu, insn, false);
    check(cpu, &io)?;
    let value = cpu.gpr(insn.op1_register()) as u32;
    cpu.port_write(io.port, io.size.into(), value);
    // What stops the processor (suspend to memory) or interrupts it does so before the next instruction.
    Ok(if cpu.platform.wake.wanted() { Next::Resync } else { Next::Advance })
}

/// Decodes INS or OUTS and checks it. A count of zero needs permission too, but is nothing to intercept.
fn string(cpu: &mut Cpu, insn: &Instruction) -> Result<(Form, u16), Fault> {
    let size = match insn.mnemonic() {
        Mnemonic::Insb | Mnemonic::Outsb => 1,
        Mnemonic::Insw | Mnemonic::Outsw => 2,
        _ => 4,
    };
    let input = matches!(insn.mnemonic(), Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd);
    let form = Form::new(cpu, insn, size);
    let port = cpu.gpr(Register::DX) as u16;
    permitted(cpu, port, size)?;
    if !form.repeat || form.offset(cpu, gpr::RCX) != 0 {
        let segment = if input { seg::ES } else { form.segment } as u8;
        let next_rip = cpu.following(insn);
        let (size, address_size) = (size as u8, form.address as u8);
        crate::intercept::io_intercept(
            cpu,
            &IoExit { port, size, input, string: true, rep: form.repeat, address_size, segment, next_rip },
        )?;
    }
    Ok((form, port))
}

/// The port is read only once the write is known to succeed: a read cannot be taken back.
pub fn ins(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let (form, port) = string(cpu, insn)?;
    form.run(cpu, |cpu, form, _| {
        let address = form.destination(cpu, true)?;
        cpu.probe_write(address, form.size, Privilege::Current)?;
        let value = cpu.port_read(port, form.size);
        cpu.store(address, form.size, value.into(), Privilege::Current)?;
        form.advance(cpu, gpr::RDI, 1);
        Ok(Step::ONE)
    })
}

pub fn outs(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    let (form, port) = string(cpu, insn)?;
    form.run(cpu, |cpu, form, _| {
        let address = form.source(cpu)?;
        let value = cpu.load(address, form.size, Privilege::Current)?;
        cpu.port_write(port, form.size, value as u32);
        form.advance(cpu, gpr::RSI, 1);
        Ok(Step::ONE)
    })
}
