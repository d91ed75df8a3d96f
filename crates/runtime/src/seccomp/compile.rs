//! The compiler: one tree for each architecture, its leaves a verdict or a chain of argument checks.
//!
//! ```text
//! ld arch ── x86_64 ── ld nr ── nr ≥ 0x40000000 ── tree of x32
//!         │                  └─ tree of x86_64
//!         ├─ i386 ───── ld nr ── tree of x86
//!         └─ kill
//! ```

use std::collections::BTreeMap;

use dray_spec::runtime::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOperator, SeccompRule};
use dray_sys::seccomp::Instruction;

use super::SeccompError;
use super::resolve::{AUDIT_X86, AUDIT_X86_64, X32_BIT, architectures, rules};

/// Load a word of `struct seccomp_data`.
pub const LOAD: u16 = 0x20;
/// Mask the word.
pub const AND: u16 = 0x54;
/// Jump always.
pub const JUMP: u16 = 0x05;
/// Jump if equal.
pub const JUMP_EQUAL: u16 = 0x15;
/// Jump if greater.
pub const JUMP_GREATER: u16 = 0x25;
/// Jump if greater or equal.
pub const JUMP_AT_LEAST: u16 = 0x35;
/// The verdict.
pub const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// Most instructions the kernel takes.
const MAX_LEN: usize = 4096;

const EPERM: u32 = 1;
const KILL_PROCESS: u32 = 0x8000_0000;

fn op(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn verdict(action: SeccompAction, errno: Option<u32>) -> Result<u32, SeccompError> {
    let data = errno.unwrap_or(EPERM) & 0xffff;
    Ok(match action {
        SeccompAction::KillThread => 0,
        SeccompAction::KillProcess => KILL_PROCESS,
        SeccompAction::Trap => 0x0003_0000,
        SeccompAction::Errno => 0x0005_0000 | data,
        SeccompAction::Trace => 0x7ff0_0000 | data,
        SeccompAction::Log => 0x7ffc_0000,
        SeccompAction::Allow => 0x7fff_0000,
        SeccompAction::Notify => return Err(SeccompError::Notify),
    })
}

/// Compiles a profile.
pub fn program(profile: &Seccomp) -> Result<Vec<Instruction>, SeccompError> {
    let found = architectures(profile)?;
    let tree_of = |arch| -> Result<Option<Vec<Instruction>>, SeccompError> {
        if found.contains(&arch) { tree(profile, arch).map(Some) } else { Ok(None) }
    };
    let kill = vec![op(RETURN, KILL_PROCESS, 0, 0)];
    let native = tree_of(SeccompArch::X86_64)?.unwrap_or_else(|| kill.clone());
    let x32 = tree_of(SeccompArch::X32)?.unwrap_or_else(|| kill.clone());
    let mut wide = vec![op(LOAD, NUMBER, 0, 0)];
    branch(&mut wide, JUMP_AT_LEAST, X32_BIT, native, x32);
    let mut after = Vec::new();
    match tree_of(SeccompArch::X86)? {
        Some(tree) => {
            let mut narrow = vec![op(LOAD, NUMBER, 0, 0)];
            narrow.extend(tree);
            branch(&mut after, JUMP_EQUAL, AUDIT_X86, kill, narrow);
        }
        None => after = kill,
    }
    let mut program = vec![op(LOAD, ARCH, 0, 0)];
    branch(&mut program, JUMP_EQUAL, AUDIT_X86_64, after, wide);
    if program.len() > MAX_LEN {
        return Err(SeccompError::TooLong { len: program.len() });
    }
    Ok(program)
}

/// A test and what follows if it is false and if it is true. Conditional jumps reach 255 instructions, so a
/// far branch goes over an unconditional one.
fn branch(out: &mut Vec<Instruction>, code: u16, k: u32, no: Vec<Instruction>, yes: Vec<Instruction>) {
    match u8::try_from(no.len()) {
        Ok(near) => out.push(op(code, k, near, 0)),
        Err(_) => {
            out.push(op(code, k, 0, 1));
            out.push(op(JUMP, no.len() as u32, 0, 0));
        }
    }
    out.extend(no);
    out.extend(yes);
}

/// Calls `from` up to the next range are all treated alike.
struct Range {
    from: u32,
    code: Vec<Instruction>,
}

fn tree(profile: &Seccomp, arch: SeccompArch) -> Result<Vec<Instruction>, SeccompError> {
    let default = verdict(profile.default_action, profile.default_errno_ret)?;
    Ok(search(&ranges(&rules(profile, arch), default)?))
}

fn ranges(rules: &BTreeMap<u32, Vec<&SeccompRule>>, default: u32) -> Result<Vec<Range>, SeccompError> {
    let unruled = vec![op(RETURN, default, 0, 0)];
    let mut ranges = vec![Range { from: 0, code: unruled.clone() }];
    let mut add = |from: u32, code: Vec<Instruction>| {
        match ranges.last_mut() {
            Some(last) if last.code == code => {}
            Some(last) if last.from == from => last.code = code,
            _ => ranges.push(Range { from, code }),
        }
        // Replacing the code of an empty range may have made it like the one before it.
        if let [.., before, last] = ranges.as_slice()
            && before.code == last.code
        {
            ranges.pop();
        }
    };
    for (&number, rules) in rules {
        add(number, chain(rules, default)?);
        add(number + 1, unruled.clone());
    }
    Ok(ranges)
}

fn search(ranges: &[Range]) -> Vec<Instruction> {
    match ranges {
        [] => Vec::new(),
        [only] => only.code.clone(),
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            let mut out = Vec::new();
            branch(&mut out, JUMP_AT_LEAST, right[0].from, search(left), search(right));
            out
        }
    }
}

/// The rules of one call, tried in order.
fn chain(rules: &[&SeccompRule], default: u32) -> Result<Vec<Instruction>, SeccompError> {
    let mut out = Vec::new();
    for rule in rules {
        let action = verdict(rule.action, rule.errno_ret)?;
        if rule.args.is_empty() {
            out.push(op(RETURN, action, 0, 0));
            return Ok(out);
        }
        out.extend(conditional(rule, action)?);
    }
    out.push(op(RETURN, default, 0, 0));
    Ok(out)
}

/// Where a check goes; made into an offset once the length of the rule is known.
#[derive(Clone, Copy)]
enum Target {
    Next,
    Pass,
    Fail,
}

fn conditional(rule: &SeccompRule, action: u32) -> Result<Vec<Instruction>, SeccompError> {
    let mut checks = Vec::new();
    for arg in &rule.args {
        if arg.index > 5 {
            let name = rule.names.first().cloned().unwrap_or_default();
            return Err(SeccompError::BadArgument { name, index: arg.index });
        }
        checks.push(check(arg));
    }
    let total: usize = checks.iter().map(Vec::len).sum();
    let mut out = Vec::with_capacity(total + 1);
    for check in checks {
        let end = out.len() + check.len();
        for (code, k, yes, no) in check {
            let here = out.len();
            let offset = |target| match target {
                Target::Next => 0,
                Target::Pass => (end - here - 1) as u8,
                Target::Fail => (total + 1 - here - 1) as u8,
            };
            let (jt, jf) = if matches!(code, LOAD | AND) { (0, 0) } else { (offset(yes), offset(no)) };
            out.push(op(code, k, jt, jf));
        }
    }
    out.push(op(RETURN, action, 0, 0));
    Ok(out)
}

type Check = (u16, u32, Target, Target);

/// A comparison of 64 bits as two of 32, the high half first.
fn check(arg: &SeccompArg) -> Vec<Check> {
    use SeccompOperator as Op;
    use Target::{Fail, Next, Pass};
    let low_at = ARGS + arg.index * 8;
    let load = |at: u32| (LOAD, at, Next, Next);
    let high = |value: u64| (value >> 32) as u32;
    let low = |value: u64| value as u32;
    let value = arg.value;
    // `hit` and `miss` swap for the negated comparisons.
    let ordered = |code: u16, hit: Target, miss: Target| {
        vec![
            load(low_at + 4),
            (JUMP_GREATER, high(value), hit, Next),
            (JUMP_EQUAL, high(value), Next, miss),
            load(low_at),
            (code, low(value), hit, miss),
        ]
    };
    match arg.op {
        Op::Eq => vec![
            load(low_at + 4),
            (JUMP_EQUAL, high(value), Next, Fail),
            load(low_at),
            (JUMP_EQUAL, low(value), Pass, Fail),
        ],
        Op::Ne => vec![
            load(low_at + 4),
            (JUMP_EQUAL, high(value), Next, Pass),
            load(low_at),
            (JUMP_EQUAL, low(value), Fail, Pass),
        ],
        Op::MaskedEq => vec![
            load(low_at + 4),
            (AND, high(value), Next, Next),
            (JUMP_EQUAL, high(arg.value_two), Next, Fail),
            load(low_at),
            (AND, low(value), Next, Next),
            (JUMP_EQUAL, low(arg.value_two), Pass, Fail),
        ],
        Op::Gt => ordered(JUMP_GREATER, Pass, Fail),
        Op::Ge => ordered(JUMP_AT_LEAST, Pass, Fail),
        Op::Le => ordered(JUMP_GREATER, Fail, Pass),
        Op::Lt => ordered(JUMP_AT_LEAST, Fail, Pass),
    }
}
