//! AMD-V on this processor: its instructions. What VMRUN and #VMEXIT do is in [`ireko_nested::svm`]; here is only
//! who calls it when.

use crate::mmu::walk::{self, Kind, Paging, WalkFault};
use crate::{Cpu, Fault, Next, world};
use iced_x86::{Code, Instruction, Register};
use ireko_nested::svm::{self, insn};
use ireko_nested::{Exit, Flush, Intercept};
use ireko_x86::bits::efer;

// ---- the instructions (APM vol. 3, chapter 4) ----

/// #UD without EFER.SVME or in real and virtual-8086 mode, #GP above CPL 0, then the hypervisor's word.
fn permitted(cpu: &Cpu, what: Intercept) -> Result<(), Fault> {
    if cpu.processor.regs.efer & efer::SVME == 0
        || !cpu.processor.regs.protected()
        || cpu.processor.regs.v86()
    {
        return Err(Fault::ud());
    }
    if cpu.processor.regs.cpl != 0 {
        return Err(Fault::gp(0));
    }
    cpu.intercept(what)
}

/// rAX by address size.
fn rax(cpu: &Cpu, insn: &Instruction) -> u64 {
    let register = match insn.code() {
        Code::Vmrunw | Code::Vmloadw | Code::Vmsavew | Code::Invlpgaw => Register::AX,
        Code::Vmrund | Code::Vmloadd | Code::Vmsaved | Code::Invlpgad => Register::EAX,
        _ => Register::RAX,
    };
    cpu.gpr(register)
}

/// rAX as the address of a VMCB, else #GP.
fn vmcb_address(cpu: &Cpu, insn: &Instruction) -> Result<u64, Fault> {
    let address = rax(cpu, insn);
    if cpu.processor.virtualization.caps.vmcb_address(address) { Ok(address) } else { Err(Fault::gp(0)) }
}

/// VMRUN. In a guest without the VMRUN intercept there is none: entry refuses such a guest (15.5.1).
pub fn vmrun(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    permitted(cpu, Intercept::Vmrun)?;
    let address = vmcb_address(cpu, insn)?;
    let next = cpu.following(insn);
    let entered = cpu.with_virtualization(|cpu, state| svm::enter::enter(cpu, state, address, next));
    world::entered(cpu, entered)?;
    Ok(Next::Jump)
}

/// Where VMLOAD and VMSAVE go: in a guest to which they are given virtually, through its nested tables (15.33.1).
fn vmcb_place(cpu: &mut Cpu, insn: &Instruction, kind: Kind) -> Result<u64, Fault> {
    let address = vmcb_address(cpu, insn)?;
    if !cpu.control().is_some_and(|control| control.virtual_vmload_vmsave) {
        return Ok(address);
    }
    let paging = Paging::of(&cpu.processor);
    walk::guest_physical(&cpu.mmu.physical, &paging, address, kind).map_err(|fault| match fault {
        WalkFault::Stage2(fault) => Fault::Exit(Exit::Stage2(fault)),
        WalkFault::Page { .. } => Fault::gp(0),
    })
}

pub fn vmload(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    permitted(cpu, Intercept::Vmload)?;
    let address = vmcb_place(cpu, insn, Kind::Read)?;
    insn::vmload(cpu, address);
    Ok(Next::Resync)
}

pub fn vmsave(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    permitted(cpu, Intercept::Vmsave)?;
    let address = vmcb_place(cpu, insn, Kind::Write)?;
    insn::vmsave(cpu, address);
    Ok(Next::Resync)
}

/// #UD unless a hypervisor wants it; from any privilege level.
pub fn vmmcall(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    cpu.intercept(Intercept::Vmmcall)?;
    Err(Fault::ud())
}

pub fn stgi(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    permitted(cpu, Intercept::Stgi)?;
    set_gif(cpu, true);
    Ok(Next::Resync)
}

pub fn clgi(cpu: &mut Cpu, _: &Instruction) -> Result<Next, Fault> {
    permitted(cpu, Intercept::Clgi)?;
    set_gif(cpu, false);
    Ok(Next::Resync)
}

/// A guest with a virtual GIF has only that one (15.33.2).
fn set_gif(cpu: &mut Cpu, on: bool) {
    match cpu.processor.control_mut() {
        Some(control) if control.vgif_enabled => control.vgif = on,
        _ => cpu.processor.gif = on,
    }
}

/// Forgets the page at rAX for the ASID in ECX.
pub fn invlpga(cpu: &mut Cpu, insn: &Instruction) -> Result<Next, Fault> {
    permitted(cpu, Intercept::Invlpga)?;
    let address = rax(cpu, insn);
    let asid = cpu.gpr(Register::ECX) as u32;
    cpu.flush_asid(Flush::Page { asid, address });
    Ok(Next::Resync)
}
