//! From a profile to the kernel's classic BPF.
//!
//! ```text
//! arch? ── x86-64 ── number ≥ x32's? ── ENOSYS
//!   │                  └── tree over numbers ── ret ACTION
//!   ├── x86 ────────── tree                └── checks of arguments ── ret ACTION …
//!   └── other ── kill
//! ```
//! The tree is balanced over ranges of neighbouring calls that end alike, so that any call is decided in some
//! eight comparisons, and the kernel, which runs a filter once for each call when it is attached, attaches it ten
//! times faster than a list.

use dray_spec::runtime::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOperator, SeccompRule};
use dray_sys::seccomp::Instruction;

use super::names::{Abi, highest, number};

// Classic BPF (linux/bpf_common.h), the few operations that a filter needs.
const LD_ABS: u16 = 0x20;
const AND_K: u16 = 0x54;
const JA: u16 = 0x05;
const JEQ_K: u16 = 0x15;
const JGT_K: u16 = 0x25;
const JGE_K: u16 = 0x35;
const RET_K: u16 = 0x06;

// Fields of struct seccomp_data.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

// Results (linux/seccomp.h).
const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Bit of a number that marks the x32 ABI.
const X32: u32 = 0x4000_0000;

/// Conditions in one rule: so many, of six instructions each, stay within reach of a jump of 8 bits.
const MAX_CONDITIONS: usize = 32;

/// Why a profile cannot be a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// Arguments are numbered 0 to 5.
    #[error("seccomp rule for {call}: argument {index} does not exist")]
    Argument {
        /// The call of the rule.
        call: String,
        /// The number asked for.
        index: u32,
    },
    /// More conditions than any real rule has.
    #[error("seccomp rule for {call}: {count} conditions are more than {MAX_CONDITIONS}")]
    Conditions {
        /// The call of the rule.
        call: String,
        /// How many there are.
        count: usize,
    },
    /// The kernel takes no more.
    #[error("seccomp profile: {0} instructions are more than the kernel's 4096")]
    TooLong(usize),
}

/// Compiles a profile for this machine's architectures.
///
/// # Errors
/// A rule that cannot be expressed, or a program that is too long for the kernel.
pub fn compile(profile: &Seccomp) -> Result<Vec<Instruction>, CompileError> {
    let mut program = Vec::new();
    program.push(load(ARCH));
    for abi in abis(profile) {
        let body = section(profile, abi)?;
        program.extend(skip_unless(audit_arch(abi), body));
    }
    program.push(ret(KILL_PROCESS));
    if program.len() > 4096 {
        return Err(CompileError::TooLong(program.len()));
    }
    Ok(program)
}

/// The ABIs that the filter decides on: the machine's own always, further ones when the profile names them.
fn abis(profile: &Seccomp) -> Vec<Abi> {
    if cfg!(target_arch = "aarch64") {
        return vec![Abi::Aarch64];
    }
    let x86 = profile.architectures.contains(&SeccompArch::X86);
    if x86 { vec![Abi::X86_64, Abi::X86] } else { vec![Abi::X86_64] }
}

/// AUDIT_ARCH_* of linux/audit.h.
fn audit_arch(abi: Abi) -> u32 {
    match abi {
        Abi::X86_64 => 0xc000_003e,
        Abi::X86 => 0x4000_0003,
        Abi::Aarch64 => 0xc000_00b7,
    }
}

/// How a call ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// Always so.
    Plain(u32),
    /// By its arguments: the first rule whose conditions hold, else the last value.
    Checked(Vec<(Vec<SeccompArg>, u32)>, u32),
}

fn section(profile: &Seccomp, abi: Abi) -> Result<Vec<Instruction>, CompileError> {
    let mut body = vec![load(NR)];
    if abi == Abi::X86_64 {
        // Kernels without x32 answer so too.
        body.extend([jump(JGE_K, X32, 0, 1), ret(ERRNO | ENOSYS)]);
    }
    body.extend(tree(&ranges(profile, abi)?));
    Ok(body)
}

/// Ranges of numbers that end alike: the first number of each, rising from 0, with its outcome. Calls that are
/// newer than the table are answered as an old kernel would, so that C libraries fall back.
fn ranges(profile: &Seccomp, abi: Abi) -> Result<Vec<(u32, Outcome)>, CompileError> {
    let default = result(profile.default_action, profile.default_errno_ret);
    let newest = highest(abi);
    let mut outcomes = vec![Outcome::Plain(default); newest as usize + 1];
    for rule in profile.syscalls.iter().rev() {
        for name in &rule.names {
            let Some(number) = number(name, abi) else { continue };
            let below = outcomes[number as usize].clone();
            outcomes[number as usize] = put_before(rule, name, below)?;
        }
    }
    let unknown = if default == ALLOW || default == LOG { default } else { ERRNO | ENOSYS };
    outcomes.push(Outcome::Plain(unknown));
    let mut ranges: Vec<(u32, Outcome)> = Vec::new();
    for (number, outcome) in (0..).zip(outcomes) {
        if ranges.last().is_none_or(|(_, last)| *last != outcome) {
            ranges.push((number, outcome));
        }
    }
    Ok(ranges)
}

/// The outcome when `rule` is asked before what is there already.
fn put_before(rule: &SeccompRule, name: &str, below: Outcome) -> Result<Outcome, CompileError> {
    let action = result(rule.action, rule.errno_ret);
    if rule.args.is_empty() {
        return Ok(Outcome::Plain(action));
    }
    if let Some(argument) = rule.args.iter().find(|argument| argument.index > 5) {
        return Err(CompileError::Argument { call: name.to_owned(), index: argument.index });
    }
    if rule.args.len() > MAX_CONDITIONS {
        return Err(CompileError::Conditions { call: name.to_owned(), count: rule.args.len() });
    }
    let first = (rule.args.clone(), action);
    Ok(match below {
        Outcome::Plain(otherwise) => Outcome::Checked(vec![first], otherwise),
        Outcome::Checked(mut checks, otherwise) => {
            checks.insert(0, first);
            Outcome::Checked(checks, otherwise)
        }
    })
}

fn result(action: SeccompAction, errno: Option<u32>) -> u32 {
    let data = errno.unwrap_or(EPERM) & 0xffff;
    match action {
        SeccompAction::KillThread => KILL_THREAD,
        SeccompAction::KillProcess => KILL_PROCESS,
        SeccompAction::Trap => TRAP,
        SeccompAction::Errno => ERRNO | data,
        SeccompAction::Trace => TRACE | data,
        SeccompAction::Allow => ALLOW,
        SeccompAction::Log => LOG,
        SeccompAction::Notify => NOTIFY,
    }
}

/// The decision over ranges: halves until one is left. The number is in the accumulator.
fn tree(ranges: &[(u32, Outcome)]) -> Vec<Instruction> {
    if let [(_, outcome)] = ranges {
        return leaf(outcome);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (low, right) = (tree(low), tree(high));
    let mut code = Vec::with_capacity(low.len() + right.len() + 2);
    match u8::try_from(low.len()) {
        Ok(distance) => code.push(jump(JGE_K, high[0].0, distance, 0)),
        Err(_) => code.extend([jump(JGE_K, high[0].0, 0, 1), always(low.len())]),
    }
    code.extend(low);
    code.extend(right);
    code
}

fn leaf(outcome: &Outcome) -> Vec<Instruction> {
    match outcome {
        Outcome::Plain(action) => vec![ret(*action)],
        Outcome::Checked(checks, otherwise) => {
            let mut code = Vec::new();
            for (conditions, action) in checks {
                code.extend(check(conditions, *action));
            }
            code.push(ret(*otherwise));
            code
        }
    }
}

/// Returns `action` when all conditions hold, else falls through to what follows.
fn check(conditions: &[SeccompArg], action: u32) -> Vec<Instruction> {
    let mut code = vec![ret(action)];
    // From the last condition to the first, each jumps over all that follows when it does not hold.
    for condition in conditions.iter().rev() {
        let mut test = compare(condition, code.len());
        test.append(&mut code);
        code = test;
    }
    code
}

/// Tests one argument, in two halves since the machine has 32 bits. Falls through when the condition holds, else
/// jumps over the `rest` instructions that follow.
fn compare(condition: &SeccompArg, rest: usize) -> Vec<Instruction> {
    let low = load(ARGS + 8 * condition.index);
    let high = load(ARGS + 8 * condition.index + 4);
    let (value_high, value_low) = halves(condition.value);
    // `put_before` bounds the conditions of a rule, so that every target is within reach of a jump of 8 bits.
    let fail = |behind: usize| (behind + rest) as u8;
    match condition.op {
        SeccompOperator::Eq => {
            vec![high, jump(JEQ_K, value_high, 0, fail(2)), low, jump(JEQ_K, value_low, 0, fail(0))]
        }
        SeccompOperator::Ne => {
            vec![high, jump(JEQ_K, value_high, 0, 2), low, jump(JEQ_K, value_low, fail(0), 0)]
        }
        SeccompOperator::Gt => vec![
            high,
            jump(JGT_K, value_high, 3, 0),
            jump(JEQ_K, value_high, 0, fail(2)),
            low,
            jump(JGT_K, value_low, 0, fail(0)),
        ],
        SeccompOperator::Ge => vec![
            high,
            jump(JGT_K, value_high, 3, 0),
            jump(JEQ_K, value_high, 0, fail(2)),
            low,
            jump(JGE_K, value_low, 0, fail(0)),
        ],
        SeccompOperator::Lt => vec![
            high,
            jump(JGT_K, value_high, fail(3), 0),
            jump(JEQ_K, value_high, 0, 2),
            low,
            jump(JGE_K, value_low, fail(0), 0),
        ],
        SeccompOperator::Le => vec![
            high,
            jump(JGT_K, value_high, fail(3), 0),
            jump(JEQ_K, value_high, 0, 2),
            low,
            jump(JGT_K, value_low, fail(0), 0),
        ],
        SeccompOperator::MaskedEq => {
            let (wanted_high, wanted_low) = halves(condition.value_two);
            vec![
                high,
                instruction(AND_K, value_high, 0, 0),
                jump(JEQ_K, wanted_high, 0, fail(3)),
                low,
                instruction(AND_K, value_low, 0, 0),
                jump(JEQ_K, wanted_low, 0, fail(0)),
            ]
        }
    }
}

fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, (value & 0xffff_ffff) as u32)
}

/// `body` for one architecture, passed over by the others. The architecture is in the accumulator.
fn skip_unless(arch: u32, body: Vec<Instruction>) -> Vec<Instruction> {
    let mut code = vec![jump(JEQ_K, arch, 1, 0), always(body.len())];
    code.extend(body);
    code
}

fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn load(offset: u32) -> Instruction {
    instruction(LD_ABS, offset, 0, 0)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    instruction(code, k, jt, jf)
}

/// Jumps over `count` instructions; programs are far shorter than 2³².
fn always(count: usize) -> Instruction {
    instruction(JA, u32::try_from(count).unwrap_or(u32::MAX), 0, 0)
}

fn ret(action: u32) -> Instruction {
    instruction(RET_K, action, 0, 0)
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
