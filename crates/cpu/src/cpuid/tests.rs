//! What the model says on made-up hosts, one fact each.

use super::*;
use host::Host;
use ireko_vmcore::Changes;
use ireko_x86::cpuid as f;

/// A host with every feature bit there is.
fn everything(leaf: u32, _: u32) -> [u32; 4] {
    match leaf {
        0 => [0x20, 0, 0, 0],
        0x8000_0000 => [0x8000_00ff, 0, 0, 0],
        _ => [u32::MAX; 4],
    }
}

fn nothing(leaf: u32, _: u32) -> [u32; 4] {
    [if leaf == 0 { 1 } else { 0 }, 0, 0, 0]
}

const RICH: Host = Host { cpuid: everything, xcr0: 0xe7 };
const POOR: Host = Host { cpuid: nothing, xcr0: 0 };
const SPEC: ModelSpec = ModelSpec {
    named: None,
    nested: true,
    vcpus: 4,
    tsc_khz: 2_000_000,
    changes: Changes { more: Vec::new(), less: Vec::new() },
};
const NOW: Now = Now { apic_id: 3, apic_on: true, monitor_on: true, cr4: 0, xcr0: 1 };

fn rich(leaf: u32, subleaf: u32) -> [u32; 4] {
    Model::amd_on(&RICH, &SPEC).cpuid(leaf, subleaf, &NOW)
}

#[test]
fn the_vendor_is_amd() {
    let [_, b, c, d] = rich(0, 0);
    assert_eq!([b, d, c].map(u32::to_le_bytes).concat(), b"AuthenticAMD");
}

#[test]
fn the_family_is_19h() {
    let a = rich(1, 0)[EAX];
    assert_eq!((a >> 8 & 0xf) + (a >> 20 & 0xff), 0x19);
}

#[test]
fn the_name_begins_with_ireko() {
    assert_eq!(rich(0x8000_0002, 0)[EAX].to_le_bytes(), *b"Irek");
}

#[test]
fn the_hypervisor_says_its_name() {
    let [_, b, c, d] = rich(0x4000_0000, 0);
    assert_eq!([b, c, d].map(u32::to_le_bytes).concat(), b"IrekoIrekoIr");
}

#[test]
fn the_timing_leaf_tells_the_tsc_rate() {
    assert_eq!(rich(0x4000_0010, 0)[EAX], 2_000_000);
}

#[test]
fn what_is_not_listed_is_not_advertised_on_any_host() {
    let [_, b, c, d] = rich(7, 0);
    let (avx512pf, mpx, rtm, waitpkg, ibt) = (b >> 26 & 1, b >> 14 & 1, b >> 11 & 1, c >> 5 & 1, d >> 20 & 1);
    assert_eq!([avx512pf, mpx, rtm, waitpkg, ibt], [0; 5]);
}

#[test]
fn avx_512_needs_a_system_that_keeps_its_state() {
    let seen = [0xe7, 0x67, 7].map(|xcr0| {
        let model = Model::amd_on(&Host { xcr0, ..RICH }, &SPEC);
        (model.has(f::AVX512F), model.has(f::AVX512_BF16), model.leaf(7, 0)[EAX], model.xcr0())
    });
    let without = (false, false, 0, 0x207);
    assert_eq!(seen, [(true, true, 1, 0x2e7), without, without]);
}

/// A host with parts of AVX-512, but not its foundation.
#[test]
fn avx_512_is_nothing_without_its_foundation() {
    fn no_foundation(leaf: u32, subleaf: u32) -> [u32; 4] {
        let mut registers = everything(leaf, subleaf);
        registers[f::AVX512F.register] &= if leaf == 7 { !(1 << f::AVX512F.bit) } else { u32::MAX };
        registers
    }
    let model = Model::amd_on(&Host { cpuid: no_foundation, ..RICH }, &SPEC);
    let parts = [f::AVX512VL, f::AVX512BW, f::AVX512_VBMI2, f::AVX512_FP16, f::AVX512_BF16];
    assert_eq!((parts.map(|part| model.has(part)), model.xcr0() & 0xe0), ([false; 5], 0));
}

#[test]
fn what_the_host_lacks_is_not_advertised() {
    let model = Model::amd_on(&POOR, &SPEC);
    assert_eq!([f::AVX2, f::SSE4_2, f::XSAVE, f::ABM].map(|feature| model.has(feature)), [false; 4]);
}

#[test]
fn what_the_engine_does_needs_no_host() {
    let model = Model::amd_on(&POOR, &SPEC);
    assert_eq!([f::SMAP, f::PCID, f::PDPE1GB, f::X2APIC, f::NX].map(|feature| model.has(feature)), [true; 5]);
}

#[test]
fn avx_needs_a_system_that_keeps_its_state() {
    let model = Model::amd_on(&Host { xcr0: 3, ..RICH }, &SPEC);
    assert_eq!((model.has(f::AVX), model.has(f::VAES), model.xcr0()), (false, false, 0x203));
}

#[test]
fn svm_is_there_only_for_nesting() {
    let plain = Model::amd_on(&RICH, &ModelSpec { nested: false, ..SPEC });
    assert_eq!((plain.has(f::SVM), plain.leaf(f::SVM_LEAF, 0), plain.efer() >> 12 & 1), (false, [0; 4], 0));
    assert!(Model::amd_on(&RICH, &SPEC).has(f::SVM));
}

#[test]
fn osxsave_follows_cr4() {
    let model = Model::amd_on(&RICH, &SPEC);
    let bit = |cr4| f::OSXSAVE.is_in(&model.cpuid(1, 0, &Now { cr4, ..NOW }));
    assert_eq!([bit(0), bit(cr4::OSXSAVE)], [false, true]);
}

#[test]
fn the_xsave_size_follows_xcr0_and_the_largest_is_fixed() {
    let model = Model::amd_on(&RICH, &SPEC);
    let sizes = [1, 3, 7, 0x203, 0x207, 0xe7, 0x2e7].map(|xcr0| {
        let now = Now { xcr0, ..NOW };
        [model.cpuid(0xd, 0, &now)[EBX], model.cpuid(0xd, 0, &now)[ECX], model.cpuid(0xd, 1, &now)[EBX]]
    });
    let [first, second] = [[576, 2440, 576], [832, 2440, 832]];
    let keys = [[2440, 2440, 584], [2440, 2440, 840]];
    let wide = [[2432, 2440, 2432], [2440, 2440, 2440]];
    assert_eq!(sizes, [first, first, second, keys[0], keys[1], wide[0], wide[1]]);
}

/// PKRU is where AMD's processors have it, whatever lies between.
#[test]
fn xsave_components_are_avx_avx_512_and_pkru() {
    let wide = [[64, 832, 0, 0], [512, 896, 0, 0], [1024, 1408, 0, 0]];
    assert_eq!((rich(0xd, 2), rich(0xd, 9)), ([256, 576, 0, 0], [8, 2432, 0, 0]));
    assert_eq!([5, 6, 7].map(|n| rich(0xd, n)), wide);
    let narrow = Model::amd_on(&Host { xcr0: 7, ..RICH }, &SPEC);
    assert_eq!([5, 6, 7, 9].map(|n| narrow.leaf(0xd, n)), [[0; 4], [0; 4], [0; 4], [8, 2432, 0, 0]]);
}

/// Bits of leaf 1, and what they are as parts of leaf 5.
#[test]
fn monitor_is_there_with_its_leaf_unless_it_is_switched_off() {
    let model = Model::amd_on(&RICH, &SPEC);
    let bit = |monitor_on| f::MONITOR.is_in(&model.cpuid(1, 0, &Now { monitor_on, ..NOW }));
    assert_eq!(([bit(true), bit(false)], rich(5, 0)), ([true, false], [64, 64, 3, 0x11]));
    let without = Model::amd_on(&RICH, &named("kvm64"));
    assert_eq!((without.has(f::MONITOR), without.leaf(5, 0)), (false, [0; 4]));
}

#[test]
fn linear_addresses_are_as_wide_as_the_paging() {
    let wide = |asked: bool| {
        let more = if asked { vec![f::LA57] } else { Vec::new() };
        let changes = Changes { more, less: Vec::new() };
        let model = Model::amd_on(&RICH, &ModelSpec { changes, ..SPEC });
        (model.has(f::LA57), model.leaf(0x8000_0008, 0)[EAX] >> 8 & 0xff, model.cr4() & cr4::LA57 != 0)
    };
    assert_eq!((wide(true), wide(false)), ((true, 57, true), (false, 48, false)));
}

#[test]
fn ospke_follows_cr4() {
    let model = Model::amd_on(&RICH, &SPEC);
    let bit = |cr4| f::OSPKE.is_in(&model.cpuid(7, 0, &Now { cr4, ..NOW }));
    assert_eq!([bit(0), bit(cr4::PKE)], [false, true]);
}

#[test]
fn xsaves_is_there_without_supervisor_components() {
    let [features, _, supervisor, more] = rich(0xd, 1);
    assert_eq!((features, supervisor, more), (15, 0, 0));
}

/// Nesting must not show anywhere but where AMD-V is told of.
#[test]
fn nesting_changes_two_places_only() {
    let [with, without] = [true, false].map(|nested| Model::amd_on(&RICH, &ModelSpec { nested, ..SPEC }));
    let ranges = [0..0x40, 0x4000_0000..0x4000_0020, 0x8000_0000..0x8000_0040];
    for leaf in ranges.into_iter().flatten().filter(|leaf| *leaf != f::SVM_LEAF) {
        for subleaf in 0..12 {
            let mut nested = with.cpuid(leaf, subleaf, &NOW);
            if leaf == f::SVM.leaf {
                nested[f::SVM.register] &= !(1 << f::SVM.bit);
            }
            assert_eq!(nested, without.cpuid(leaf, subleaf, &NOW), "leaf {leaf:#x}, {subleaf}");
        }
    }
}

#[test]
fn the_apic_id_is_in_four_places() {
    assert_eq!(
        (rich(1, 0)[EBX] >> 24, rich(0xb, 0)[EDX], rich(0xb, 1)[EDX], rich(0x8000_001e, 0)[EAX]),
        (3, 3, 3, 3)
    );
}

#[test]
fn four_processors_take_two_bits_of_the_apic_id() {
    assert_eq!((rich(0xb, 1)[EAX], rich(0xb, 1)[EBX], rich(0x8000_0008, 0)[ECX]), (2, 4, 0x2003));
}

#[test]
fn one_processor_is_not_many_threads() {
    let model = Model::amd_on(&RICH, &ModelSpec { vcpus: 1, ..SPEC });
    assert_eq!((model.has(f::HTT), model.cpuid(0xb, 1, &NOW)[EAX]), (false, 0));
}

#[test]
fn cr4_has_the_bits_of_the_features_and_no_others() {
    let cr4 = Model::amd_on(&RICH, &SPEC).cr4();
    assert_eq!((cr4 & cr4::SMAP != 0, cr4 & cr4::VMXE), (true, 0));
}

#[test]
fn leaves_beyond_the_last_are_zero() {
    assert_eq!(
        [rich(0x11, 0), rich(0x8000_0022, 0), rich(0x4000_0011, 0), rich(0x2000_0000, 7)],
        [[0; 4]; 4]
    );
}

#[test]
fn subleaves_of_plain_leaves_do_not_matter() {
    assert_eq!(rich(0x8000_0008, 5), rich(0x8000_0008, 0));
}

#[test]
fn a_poor_host_is_refused_with_what_it_lacks() {
    let sentence = POOR.supported().unwrap_err();
    assert!(sentence.contains("avx2") && sentence.contains("cmpxchg16b"), "{sentence}");
}

fn named(name: &str) -> ModelSpec {
    ModelSpec { named: Some(ireko_x86::models::named(name).unwrap()), ..SPEC }
}

/// CLWB came with Zen 2, FSRM with Zen 3.
#[test]
fn a_named_model_has_what_it_is_known_for_and_no_more() {
    let has = |name, feature| Model::amd_on(&RICH, &named(name)).has(feature);
    let of = |feature| ["kvm64", "EPYC", "EPYC-Rome", "EPYC-Milan"].map(|name| has(name, feature));
    assert_eq!(of(f::CLZERO), [false, true, true, true]);
    assert_eq!(of(f::CLWB), [false, false, true, true]);
    assert_eq!(of(f::FSRM), [false, false, false, true]);
}

/// AMD's revision guides: 7001 is 17h 1 2, 7002 is 17h 31h 0, 7003 is 19h 1 1; 9004 is 19h 11h 0; Opteron 6300 is 15h 2 0.
#[test]
fn signatures_are_those_of_the_parts() {
    let signature = |name| Model::amd_on(&RICH, &named(name)).leaf(1, 0)[EAX];
    let parts = ["EPYC", "EPYC-Rome", "EPYC-Milan", "EPYC-Genoa", "Opteron_G5"].map(signature);
    assert_eq!(parts, [0x0080_0f12, 0x0083_0f10, 0x00a0_0f11, 0x00a1_0f10, 0x0060_0f20]);
}

/// The psABI's v4 is five parts of AVX-512; Zen 4 has more of them, but not FP16.
#[test]
fn avx_512_is_zen_4s_and_the_fourth_baselines() {
    let has = |name, feature| Model::amd_on(&RICH, &named(name)).has(feature);
    let of = |feature| ["x86-64-v3", "EPYC-Milan", "x86-64-v4", "EPYC-Genoa"].map(|name| has(name, feature));
    assert_eq!(of(f::AVX512F), [false, false, true, true]);
    assert_eq!(of(f::AVX512VL), [false, false, true, true]);
    assert_eq!(of(f::AVX512_BF16), [false, false, false, true]);
    assert_eq!(of(f::AVX512_FP16), [false; 4]);
}

#[test]
fn a_feature_that_was_asked_for_and_cannot_stand_alone_is_refused() {
    let refused = |more: &[f::Feature], less: &[f::Feature], named| {
        let changes = Changes { more: more.to_vec(), less: less.to_vec() };
        let spec = ModelSpec { named, nested: false, vcpus: 1, tsc_khz: 1_000_000, changes };
        Model::here(&spec).expect_err("it is refused")
    };
    let kvm64 = ireko_x86::models::named("kvm64");
    assert!(refused(&[f::AVX], &[], kvm64).contains("`+avx` of a processor wants xsave"));
    assert!(refused(&[f::POPCNT], &[f::POPCNT], None).contains("`+popcnt` and `-popcnt`"));
    assert!(refused(&[f::HTT], &[], None).contains("several processors"));
}

#[test]
fn a_feature_goes_with_its_ground() {
    let left = |less: f::Feature, of: &[f::Feature]| {
        let changes = Changes { more: Vec::new(), less: vec![less] };
        let model = Model::amd_on(&RICH, &ModelSpec { changes, ..SPEC });
        of.iter().map(|&feature| model.has(feature)).collect::<Vec<_>>()
    };
    assert_eq!(left(f::XSAVEC, &[f::XSAVES, f::XSAVE]), [false, true]);
    assert_eq!(left(f::SSE, &[f::SSE2, f::AVX, f::AES, f::FXSR, f::MMX]), [false, false, false, true, true]);
    assert_eq!(left(f::FPU, &[f::MMX, f::FXSR, f::SSE, f::XSAVE, f::AVX]), [false; 5]);
}

#[test]
fn a_model_that_the_host_cannot_give_is_refused_with_what_it_lacks() {
    let sentence = Model::on(&POOR, &named("EPYC")).unwrap_err();
    assert!(
        sentence.contains("EPYC") && sentence.contains("AVX2") && sentence.contains("RDSEED"),
        "{sentence}"
    );
}

#[test]
fn every_model_tells_what_belongs_to_the_machine() {
    for model in ireko_x86::models::NAMED {
        let model = Model::amd_on(&RICH, &ModelSpec { named: Some(model), ..SPEC });
        assert!([f::HYPERVISOR, f::X2APIC, f::SVM, f::HTT].iter().all(|feature| model.has(*feature)));
    }
}

#[test]
fn without_xsave_there_is_no_leaf_of_its_state() {
    let model = Model::amd_on(&RICH, &named("x86-64-v2"));
    assert_eq!(
        (model.cpuid(0xd, 0, &NOW), model.cpuid(0xd, 1, &NOW), model.cr4() & cr4::OSXSAVE),
        ([0; 4], [0; 4], 0)
    );
}

#[test]
fn without_topology_extensions_there_are_no_leaves_of_them() {
    let model = Model::amd_on(&RICH, &named("kvm64"));
    assert_eq!([model.cpuid(0x8000_001d, 0, &NOW), model.cpuid(0x8000_001e, 0, &NOW)], [[0; 4]; 2]);
}

/// The same caches in both leaves: 512 KiB in 8 ways.
#[test]
fn the_second_level_cache_is_told_twice_alike() {
    for name in ["EPYC", "EPYC-Rome", "EPYC-Milan"] {
        let model = Model::amd_on(&RICH, &named(name));
        let [_, ways, sets, _] = model.leaf(0x8000_001d, 2);
        let bytes = ((ways >> 22) + 1) * (sets + 1) * 64;
        assert_eq!((model.leaf(0x8000_0006, 0)[ECX] >> 16, bytes), (512, 512 << 10));
    }
}

fn without(feature: f::Feature) -> Model {
    let changes = Changes { more: Vec::new(), less: vec![feature] };
    Model::amd_on(&RICH, &ModelSpec { changes, ..SPEC })
}

#[test]
fn what_builds_on_a_feature_goes_with_it() {
    let model = without(f::XSAVE);
    let gone = [f::XSAVE, f::XSAVEC, f::AVX, f::AVX2, f::FMA, f::VAES];
    assert!(gone.iter().all(|feature| !model.has(*feature)) && model.has(f::SSE4_2));
    assert_eq!(model.cr4() & cr4::OSXSAVE, 0);
}

#[test]
fn a_feature_that_nobody_can_give_is_refused() {
    let changes = Changes { more: vec![f::XOP], less: Vec::new() };
    let sentence = Model::on(&RICH, &ModelSpec { changes, ..SPEC }).unwrap_err();
    assert!(sentence.contains("XOP"), "{sentence}");
}

#[test]
fn a_model_can_be_had_without_what_a_host_cannot_give() {
    let less = vec![f::XOP, f::FMA4, f::TBM];
    let spec = ModelSpec { changes: Changes { more: Vec::new(), less }, ..named("Opteron_G5") };
    assert!(Model::on(&RICH, &spec).is_ok_and(|model| model.has(f::SSE4A) && !model.has(f::FMA4)));
}
