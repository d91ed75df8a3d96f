//! The compiled filter against the rules it was made from, by a small interpreter of BPF.

use std::collections::BTreeMap;

use dray_spec::runtime::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOperator, SeccompRule};
use dray_sys::seccomp::Instruction;

use super::compile::{AND, JUMP, JUMP_AT_LEAST, JUMP_EQUAL, JUMP_GREATER, LOAD, RETURN};
use super::resolve::{AUDIT_X86, AUDIT_X86_64, number, rules};
use super::{compile, default_profile, from_docker};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL: u32 = 0x8000_0000;

/// Runs a filter as the kernel would; the verdict, and how many instructions it took.
fn run(filter: &[Instruction], arch: u32, nr: u32, args: [u64; 6]) -> (u32, usize) {
    let mut data = [0_u8; 64];
    data[0..4].copy_from_slice(&nr.to_le_bytes());
    data[4..8].copy_from_slice(&arch.to_le_bytes());
    for (index, arg) in args.iter().enumerate() {
        data[16 + index * 8..24 + index * 8].copy_from_slice(&arg.to_le_bytes());
    }
    let (mut word, mut at, mut steps) = (0_u32, 0, 0);
    loop {
        let i = filter[at];
        at += 1;
        steps += 1;
        let holds = match i.code {
            LOAD => {
                let from = i.k as usize;
                word = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                continue;
            }
            AND => {
                word &= i.k;
                continue;
            }
            JUMP => {
                at += i.k as usize;
                continue;
            }
            RETURN => return (i.k, steps),
            JUMP_EQUAL => word == i.k,
            JUMP_GREATER => word > i.k,
            JUMP_AT_LEAST => word >= i.k,
            code => panic!("unknown instruction {code:#x}"),
        };
        at += usize::from(if holds { i.jt } else { i.jf });
    }
}

fn caps(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn native(filter: &[Instruction], name: &str, first: u64) -> u32 {
    let nr = number(SeccompArch::X86_64, name).unwrap();
    run(filter, AUDIT_X86_64, nr, [first, 0, 0, 0, 0, 0]).0
}

/// What the rules themselves say, looked up one by one.
fn expected(by_number: &BTreeMap<u32, Vec<&SeccompRule>>, nr: u32, args: [u64; 6]) -> u32 {
    let holds = |arg: &SeccompArg| {
        let value = args[arg.index as usize];
        match arg.op {
            SeccompOperator::Eq => value == arg.value,
            SeccompOperator::Ne => value != arg.value,
            SeccompOperator::Lt => value < arg.value,
            SeccompOperator::Le => value <= arg.value,
            SeccompOperator::Gt => value > arg.value,
            SeccompOperator::Ge => value >= arg.value,
            SeccompOperator::MaskedEq => value & arg.value == arg.value_two,
        }
    };
    let rules = by_number.get(&nr).map_or(&[][..], Vec::as_slice);
    match rules.iter().find(|rule| rule.args.iter().all(holds)) {
        Some(rule) if rule.action == SeccompAction::Allow => ALLOW,
        Some(rule) => 0x0005_0000 | rule.errno_ret.unwrap_or(1),
        None => EPERM,
    }
}

#[test]
fn the_default_filter_says_what_the_table_says() {
    for held in [caps(&[]), caps(&["CAP_SYS_ADMIN"]), caps(&["CAP_SYS_PTRACE", "CAP_BPF"])] {
        let profile = default_profile(&held);
        let filter = compile(&profile).unwrap();
        let arches = [
            (SeccompArch::X86_64, AUDIT_X86_64, 0),
            (SeccompArch::X86, AUDIT_X86, 0),
            (SeccompArch::X32, AUDIT_X86_64, 0x4000_0000),
        ];
        for (arch, audit, bit) in arches {
            let by_number = rules(&profile, arch);
            for nr in (0..600).chain([0x0fff_ffff, 0x3fff_ffff]) {
                let nr = nr | bit;
                for first in
                    [0, 1, 8, 37, 38, 39, 40, 41, 0x20000, 0xffff_ffff, 0x7e02_0000, 1 << 33, u64::MAX]
                {
                    let args = [first, 0, 0, 0, 0, 0];
                    let got = run(&filter, audit, nr, args).0;
                    assert_eq!(got, expected(&by_number, nr, args), "{arch:?} {nr} ({first:#x})");
                }
            }
        }
    }
}

#[test]
fn the_default_profile_is_dockers() {
    let plain = compile(&default_profile(&[])).unwrap();
    let admin = compile(&default_profile(&caps(&["CAP_SYS_ADMIN"]))).unwrap();
    for name in ["read", "openat", "execve", "futex", "ptrace", "io_uring_setup"] {
        let allowed = if name == "io_uring_setup" { EPERM } else { ALLOW };
        assert_eq!(native(&plain, name, 0), allowed, "{name}");
    }
    for name in ["mount", "bpf", "unshare", "keyctl", "reboot", "kexec_load", "init_module", "add_key"] {
        assert_eq!(native(&plain, name, 0), EPERM, "{name}");
    }
    assert_eq!(native(&plain, "clone3", 0), ENOSYS);
    assert_eq!(native(&admin, "clone3", 0), ALLOW);
    assert_eq!(native(&admin, "mount", 0), ALLOW);
    assert_eq!(native(&plain, "clone", 0x1000_0000), EPERM, "a user namespace");
    assert_eq!(native(&plain, "clone", 0x11), ALLOW, "a fork");
    assert_eq!(native(&plain, "socket", 2), ALLOW);
    assert_eq!(native(&plain, "socket", 40), EPERM, "vsock");
    assert_eq!(native(&plain, "personality", 0xffff_ffff), ALLOW);
    assert_eq!(native(&plain, "personality", 1), EPERM);
    assert_eq!(run(&plain, 0xc000_00b7, 0, [0; 6]).0, KILL, "another architecture");
}

#[test]
fn the_tree_is_flat() {
    let filter = compile(&default_profile(&[])).unwrap();
    let longest = (0..600).map(|nr| run(&filter, AUDIT_X86_64, nr, [0; 6]).1).max().unwrap();
    assert!(longest <= 32, "{longest} instructions for one call");
    assert!(filter.len() < 1000, "{} instructions", filter.len());
}

#[test]
fn every_operator_compares_64_bits() {
    use SeccompOperator as Op;
    let operators = [Op::Ne, Op::Lt, Op::Le, Op::Eq, Op::Ge, Op::Gt, Op::MaskedEq];
    let values = [0, 1, 5, 0xffff_ffff, 1 << 32, (1 << 32) + 5, u64::MAX];
    for op in operators {
        for value in values {
            let arg = SeccompArg { index: 2, value, value_two: value & 5, op };
            let other = SeccompArg { index: 0, value: 7, value_two: 0, op: Op::Eq };
            let rule = SeccompRule {
                names: vec!["read".into()],
                action: SeccompAction::Errno,
                errno_ret: Some(9),
                args: vec![arg, other],
            };
            let profile = Seccomp { syscalls: vec![rule], ..default_profile(&[]) };
            let filter = compile(&profile).unwrap();
            let by_number = rules(&profile, SeccompArch::X86_64);
            for third in values {
                for first in [7, 8] {
                    let args = [first, 0, third, 0, 0, 0];
                    let got = run(&filter, AUDIT_X86_64, 0, args).0;
                    let wanted = expected(&by_number, 0, args);
                    assert_eq!(got, wanted, "{third:#x} {op:?} {value:#x}");
                }
            }
        }
    }
}

#[test]
fn every_action_has_its_verdict() {
    let verdict = |action: &str| {
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
            "syscalls":[{{"names":["mkdir","nosuchcall"],"action":"{action}","errnoRet":5}}]}}"#
        );
        let filter = compile(&from_docker(&json, &[]).unwrap()).unwrap();
        assert_eq!(native(&filter, "read", 0), ALLOW);
        assert_eq!(run(&filter, AUDIT_X86, 0, [0; 6]).0, KILL, "an architecture the profile does not name");
        native(&filter, "mkdir", 0)
    };
    assert_eq!(verdict("SCMP_ACT_KILL"), 0);
    assert_eq!(verdict("SCMP_ACT_KILL_PROCESS"), KILL);
    assert_eq!(verdict("SCMP_ACT_TRAP"), 0x0003_0000);
    assert_eq!(verdict("SCMP_ACT_ERRNO"), 0x0005_0005);
    assert_eq!(verdict("SCMP_ACT_TRACE"), 0x7ff0_0005);
    assert_eq!(verdict("SCMP_ACT_LOG"), 0x7ffc_0000);
}
