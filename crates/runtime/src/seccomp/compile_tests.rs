//! The compiler against an interpreter of classic BPF, and against the profile that it compiles.

use super::*;
use crate::seccomp::profile::default_profile;

/// Runs a filter as the kernel does.
fn run(program: &[Instruction], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    let (mut at, mut accumulator) = (0usize, 0u32);
    loop {
        let i = program[at];
        at += 1;
        match i.code {
            LD_ABS => {
                accumulator = match i.k {
                    NR => nr,
                    ARCH => arch,
                    offset => {
                        let argument = args[((offset - ARGS) / 8) as usize];
                        if (offset - ARGS).is_multiple_of(8) {
                            argument as u32
                        } else {
                            (argument >> 32) as u32
                        }
                    }
                }
            }
            AND_K => accumulator &= i.k,
            JA => at += i.k as usize,
            JEQ_K | JGT_K | JGE_K => {
                let holds = match i.code {
                    JEQ_K => accumulator == i.k,
                    JGT_K => accumulator > i.k,
                    _ => accumulator >= i.k,
                };
                at += usize::from(if holds { i.jt } else { i.jf });
            }
            RET_K => return i.k,
            other => panic!("an operation that the compiler should not emit: {other:#x}"),
        }
    }
}

const X64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

fn default_filter(capabilities: &[&str]) -> Vec<Instruction> {
    let names: Vec<String> = capabilities.iter().map(|name| (*name).to_owned()).collect();
    compile(&default_profile(&names)).expect("the default profile compiles")
}

fn call(filter: &[Instruction], name: &str, args: [u64; 6]) -> u32 {
    run(filter, X64, number(name, Abi::X86_64).expect("a known call"), args)
}

#[test]
fn ordinary_calls_are_allowed_and_dangerous_ones_not() {
    let filter = default_filter(&["CAP_CHOWN"]);
    for name in ["read", "write", "openat", "execve", "futex", "epoll_wait", "mseal", "ptrace", "fchmodat2"] {
        assert_eq!(call(&filter, name, [0; 6]), ALLOW, "{name}");
    }
    for name in [
        "mount",
        "unshare",
        "setns",
        "bpf",
        "kexec_load",
        "init_module",
        "reboot",
        "keyctl",
        "swapon",
        "io_uring_setup",
    ] {
        assert_eq!(call(&filter, name, [0; 6]), ERRNO | EPERM, "{name}");
    }
}

#[test]
fn a_capability_opens_its_calls() {
    for (capability, name) in
        [("CAP_SYS_ADMIN", "mount"), ("CAP_SYS_TIME", "settimeofday"), ("CAP_SYS_CHROOT", "chroot")]
    {
        assert_eq!(call(&default_filter(&[capability]), name, [0; 6]), ALLOW, "{name} with {capability}");
        assert_eq!(call(&default_filter(&[]), name, [0; 6]), ERRNO | EPERM, "{name} without {capability}");
    }
}

#[test]
fn arguments_decide() {
    let filter = default_filter(&[]);
    let clone = |flags: u64| call(&filter, "clone", [flags, 0, 0, 0, 0, 0]);
    assert_eq!(clone(0x11), ALLOW, "fork");
    assert_eq!(clone(0x003d_0f00), ALLOW, "a thread");
    assert_eq!(clone(0x1000_0000), ERRNO | EPERM, "a user namespace");
    assert_eq!(clone(0x0002_0000), ERRNO | EPERM, "a mount namespace");
    assert_eq!(call(&filter, "clone3", [0; 6]), ERRNO | ENOSYS);
    let socket = |family: u64| call(&filter, "socket", [family, 0, 0, 0, 0, 0]);
    assert_eq!([1, 2, 10, 16, 17, 39, 41].map(socket), [ALLOW; 7]);
    assert_eq!([38, 40].map(socket), [ERRNO | EPERM; 2]);
    let personality = |value: u64| call(&filter, "personality", [value, 0, 0, 0, 0, 0]);
    assert_eq!([0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff].map(personality), [ALLOW; 5]);
    assert_eq!([1, 0x4_0000, 0x1_0000_0000].map(personality), [ERRNO | EPERM; 3]);
}

#[test]
fn other_architectures_and_numbers_have_their_ends() {
    let filter = default_filter(&[]);
    assert_eq!(run(&filter, I386, number("open", Abi::X86).expect("known"), [0; 6]), ALLOW);
    assert_eq!(run(&filter, I386, number("mount", Abi::X86).expect("known"), [0; 6]), ERRNO | EPERM);
    assert_eq!(run(&filter, 0xdead_beef, 0, [0; 6]), KILL_PROCESS);
    assert_eq!(run(&filter, X64, X32 | 1, [0; 6]), ERRNO | ENOSYS, "x32");
    assert_eq!(run(&filter, X64, 5000, [0; 6]), ERRNO | ENOSYS, "newer than the table");
}

/// What a profile says, without the compiler.
fn by_hand(profile: &Seccomp, abi: Abi, nr: u32, args: [u64; 6]) -> u32 {
    let holds = |c: &SeccompArg| {
        let value = args[c.index as usize];
        match c.op {
            SeccompOperator::Ne => value != c.value,
            SeccompOperator::Lt => value < c.value,
            SeccompOperator::Le => value <= c.value,
            SeccompOperator::Eq => value == c.value,
            SeccompOperator::Ge => value >= c.value,
            SeccompOperator::Gt => value > c.value,
            SeccompOperator::MaskedEq => value & c.value == c.value_two,
        }
    };
    let rule = profile.syscalls.iter().find(|rule| {
        rule.names.iter().any(|name| number(name, abi) == Some(nr)) && rule.args.iter().all(holds)
    });
    match rule {
        Some(rule) => result(rule.action, rule.errno_ret),
        None if nr > highest(abi) => ERRNO | ENOSYS,
        None => result(profile.default_action, profile.default_errno_ret),
    }
}

#[test]
fn every_call_ends_as_the_profile_says() {
    let values = [0, 1, 37, 38, 39, 40, 41, 0x7e02_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX];
    for capabilities in [vec![], vec!["CAP_SYS_ADMIN".to_owned()], vec!["CAP_SYS_PTRACE".to_owned()]] {
        let profile = default_profile(&capabilities);
        let filter = compile(&profile).expect("compiles");
        for (abi, arch) in [(Abi::X86_64, X64), (Abi::X86, I386)] {
            for nr in 0..600 {
                for value in values {
                    let args = [value, value, 0, 0, 0, value];
                    assert_eq!(
                        run(&filter, arch, nr, args),
                        by_hand(&profile, abi, nr, args),
                        "{abi:?} {nr} {value:#x}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_operator_compares_64_bits() {
    let values = [0, 1, 5, 6, 7, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0006, 0x2_0000_0005, u64::MAX];
    for op in [
        SeccompOperator::Ne,
        SeccompOperator::Lt,
        SeccompOperator::Le,
        SeccompOperator::Eq,
        SeccompOperator::Ge,
        SeccompOperator::Gt,
        SeccompOperator::MaskedEq,
    ] {
        for value in values {
            let mut profile = default_profile(&[]);
            let condition = |index| SeccompArg { index, value, value_two: value & 5, op };
            profile.syscalls = vec![SeccompRule {
                names: vec!["read".to_owned()],
                action: SeccompAction::Allow,
                errno_ret: None,
                args: vec![condition(0), condition(3)],
            }];
            let filter = compile(&profile).expect("compiles");
            for first in values {
                for second in values {
                    let args = [first, 0, 0, second, 0, 0];
                    assert_eq!(
                        run(&filter, X64, 0, args),
                        by_hand(&profile, Abi::X86_64, 0, args),
                        "{op:?} {value:#x} {args:x?}"
                    );
                }
            }
        }
    }
}

#[test]
fn any_call_is_decided_in_few_steps() {
    let filter = default_filter(&[]);
    assert!(filter.len() < 1000, "{} instructions", filter.len());
}

#[test]
fn impossible_rules_are_named() {
    let mut profile = default_profile(&[]);
    profile.syscalls[1].args[0].index = 6;
    assert_eq!(
        compile(&profile).expect_err("argument 6").to_string(),
        "seccomp rule for personality: argument 6 does not exist"
    );
}
