//! Which devices a container may use: lines of the v1 controller, or a program for v2.

use dray_spec::runtime::DeviceRule;
use dray_sys::bpf::Instruction;

/// What every container may use whatever its rules say: making nodes, and the devices without which a program
/// hardly runs (null, zero, full, random, urandom, tty, console, pseudo-terminals).
pub fn default_rules() -> Vec<DeviceRule> {
    let rule = |kind: &str, major: Option<i64>, minor: Option<i64>, access: &str| DeviceRule {
        allow: true,
        kind: Some(kind.to_owned()),
        major,
        minor,
        access: Some(access.to_owned()),
    };
    let mut rules = vec![rule("c", None, None, "m"), rule("b", None, None, "m")];
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(rule("c", Some(major), Some(minor), "rwm"));
    }
    rules.push(rule("c", Some(136), None, "rwm"));
    rules
}

/// All rules in order: nothing is allowed, then the configured rules, then the default ones.
pub fn effective(configured: &[DeviceRule]) -> Vec<DeviceRule> {
    let nothing = DeviceRule { allow: false, access: Some("rwm".to_owned()), ..DeviceRule::default() };
    let opened = configured.iter().any(|rule| rule.allow && is_everything(rule));
    let defaults = if opened { Vec::new() } else { default_rules() };
    [nothing].into_iter().chain(configured.iter().cloned()).chain(defaults).collect()
}

fn is_everything(rule: &DeviceRule) -> bool {
    let any = |number: Option<i64>| number.is_none_or(|n| n < 0);
    matches!(rule.kind.as_deref(), None | Some("a" | ""))
        && any(rule.major)
        && any(rule.minor)
        && access(rule) == READ | WRITE | MKNOD
}

/// File and line for one rule on v1.
pub fn v1_line(rule: &DeviceRule) -> (&'static str, String) {
    let file = if rule.allow { "devices.allow" } else { "devices.deny" };
    let number = |n: Option<i64>| n.filter(|&n| n >= 0).map_or("*".to_owned(), |n| n.to_string());
    let kind = match rule.kind.as_deref() {
        Some("b") => "b",
        Some("c" | "u") => "c",
        _ => "a",
    };
    let access = rule.access.as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm");
    (file, format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor)))
}

const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
const BLOCK: i32 = 1;
const CHAR: i32 = 2;

fn access(rule: &DeviceRule) -> i32 {
    let text = rule.access.as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm");
    text.bytes().fold(0, |bits, letter| {
        bits | match letter {
            b'r' => READ,
            b'w' => WRITE,
            b'm' => MKNOD,
            _ => 0,
        }
    })
}

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_IF_NOT: u8 = 0x55;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_NOT_REGISTER: u8 = 0x5d;
const EXIT: u8 = 0x95;

fn op(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

/// The program of a v2 cgroup: the last rule that matches an access decides it, none is a refusal.
///
/// ```text
/// r1  struct bpf_cgroup_dev_ctx { access_type: access << 16 | type, major, minor }
/// r2  type      r3  access      r4  major      r5  minor
/// ```
pub fn v2_program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        op(LOAD_WORD, 0x12, 0, 0),
        op(MOVE_REGISTER, 0x23, 0, 0),
        op(AND, 2, 0, 0xffff),
        op(SHIFT_RIGHT, 3, 0, 16),
        op(LOAD_WORD, 0x14, 4, 0),
        op(LOAD_WORD, 0x15, 8, 0),
    ];
    // Rules before the last one that covers everything cannot decide any more.
    let from = rules.iter().rposition(is_everything).unwrap_or(0);
    for rule in rules[from..].iter().rev() {
        program.extend(v2_rule(rule));
        if is_everything(rule) {
            return program;
        }
    }
    program.extend([op(MOVE, 0, 0, 0), op(EXIT, 0, 0, 0)]);
    program
}

fn v2_rule(rule: &DeviceRule) -> Vec<Instruction> {
    let mut checks = Vec::new();
    match rule.kind.as_deref() {
        Some("b") => checks.push(op(JUMP_IF_NOT, 2, 0, BLOCK)),
        Some("c" | "u") => checks.push(op(JUMP_IF_NOT, 2, 0, CHAR)),
        _ => {}
    }
    let bits = access(rule);
    if bits != READ | WRITE | MKNOD {
        checks.extend([op(MOVE_REGISTER, 0x31, 0, 0), op(AND, 1, 0, bits)]);
        checks.push(if rule.allow {
            // Allowed only if the rule covers all that is asked for.
            op(JUMP_IF_NOT_REGISTER, 0x31, 0, 0)
        } else {
            // Refused if it covers anything of it.
            op(JUMP_IF_EQUAL, 1, 0, 0)
        });
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        if let Some(number) = number.filter(|&n| n >= 0) {
            checks.push(op(JUMP_IF_NOT, register, 0, i32::try_from(number).unwrap_or(i32::MAX)));
        }
    }
    let end = checks.len() + 2;
    for (at, check) in checks.iter_mut().enumerate() {
        if matches!(check.code, JUMP_IF_NOT | JUMP_IF_EQUAL | JUMP_IF_NOT_REGISTER) {
            check.offset = (end - at - 1) as i16;
        }
    }
    checks.extend([op(MOVE, 0, 0, i32::from(rule.allow)), op(EXIT, 0, 0, 0)]);
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    fn run(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> i64 {
        let context = [i64::from(access << 16 | kind), i64::from(major), i64::from(minor)];
        let mut registers = [0_i64; 11];
        let mut at = 0;
        loop {
            let i = program[at];
            let (target, source) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            // In this encoding the low half is the destination, except that loads are written source first.
            let immediate = i64::from(i.immediate);
            at += 1;
            match i.code {
                LOAD_WORD => registers[target] = context[i.offset as usize / 4],
                MOVE => registers[target] = immediate,
                MOVE_REGISTER => registers[target] = registers[source],
                AND => registers[target] &= immediate,
                SHIFT_RIGHT => registers[target] >>= immediate,
                JUMP_IF_NOT if registers[target] != immediate => at += i.offset as usize,
                JUMP_IF_EQUAL if registers[target] == immediate => at += i.offset as usize,
                JUMP_IF_NOT_REGISTER if registers[target] != registers[source] => at += i.offset as usize,
                JUMP_IF_NOT | JUMP_IF_EQUAL | JUMP_IF_NOT_REGISTER => {}
                EXIT => return registers[0],
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    fn rule(allow: bool, kind: &str, major: i64, minor: i64, access: &str) -> DeviceRule {
        DeviceRule {
            allow,
            kind: Some(kind.into()),
            major: Some(major),
            minor: Some(minor),
            access: Some(access.into()),
        }
    }

    #[test]
    fn the_program_obeys_the_rules() {
        let program = v2_program(&effective(&[rule(true, "b", 8, -1, "r"), rule(false, "b", 8, 1, "r")]));
        assert_eq!(run(&program, CHAR, READ | WRITE, 1, 3), 1, "null");
        assert_eq!(run(&program, CHAR, READ, 1, 1), 0, "mem");
        assert_eq!(run(&program, CHAR, MKNOD, 1, 1), 1, "a node may be made");
        assert_eq!(run(&program, CHAR, READ | WRITE, 136, 77), 1, "pts");
        assert_eq!(run(&program, BLOCK, READ, 8, 0), 1);
        assert_eq!(run(&program, BLOCK, READ | WRITE, 8, 0), 0);
        assert_eq!(run(&program, BLOCK, READ, 8, 1), 0, "denied later");
        let open = v2_program(&effective(&[DeviceRule { allow: true, ..DeviceRule::default() }]));
        assert_eq!(run(&open, BLOCK, READ | WRITE | MKNOD, 259, 0), 1);
    }

    #[test]
    fn v1_lines_are_the_controllers() {
        assert_eq!(v1_line(&effective(&[])[0]), ("devices.deny", "a *:* rwm".to_owned()));
        assert_eq!(v1_line(&rule(true, "c", 136, -1, "rw")), ("devices.allow", "c 136:* rw".to_owned()));
    }
}
