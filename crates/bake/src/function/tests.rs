//! Functions by what calls of them come to, where buildx's corpus does not look.

use crate::{Around, File};

/// What an expression comes to, as the text of an argument; its error's words.
fn eval(expression: &str) -> Result<String, String> {
    let text = format!("target \"t\" {{\n  args = {{ r = {expression} }}\n}}\n");
    let config = crate::read(&[File { name: "f.hcl".into(), text }], &Around::default());
    let config = config.map_err(|error| error.message().to_owned())?;
    let args = config.targets[0].args.clone().unwrap_or_default();
    Ok(args["r"].clone().unwrap_or_else(|| "null".to_owned()))
}

fn ok(expression: &str) -> String {
    eval(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

fn wrong(expression: &str) -> String {
    eval(expression).expect_err(expression)
}

#[test]
fn formats_take_flags_widths_and_places() {
    assert_eq!(ok("format(\"%[2]s-%[1]s\", \"a\", \"b\")"), "b-a");
    assert_eq!(
        ok("format(\"%08.3f|%-6d|%+d|%e\", 3.14159, 42, 1, 0.00012)"),
        "0003.142|42    |+1|1.200000e-04"
    );
    assert_eq!(ok("format(\"100%%\")"), "100%");
    assert!(wrong("format(\"%s\")").contains("not enough arguments for"));
    assert!(
        wrong("format(\"%s\", \"a\", \"b\")").contains("too many arguments; only 1 used by format string")
    );
    assert!(wrong("format(\"%y\", 1)").contains("unsupported format verb"));
    assert!(wrong("format(\"%999999999s\", 1)").contains("more than 4096"));
    assert!(wrong("format(\"%d\", \"x\")").contains("unsupported value"));
}

#[test]
fn lists_have_ends() {
    assert_eq!(ok("element([\"a\", \"b\", \"c\"], -1)"), "c");
    assert!(wrong("slice([1], 0, 2)").contains("end index must not be greater"));
    assert!(wrong("range(100000)").contains("more than 1024 values were generated"));
    assert!(wrong("range(0, 5, 0)").contains("step must not be zero"));
    assert!(wrong("zipmap([\"a\"], [])").contains("number of keys (1) does not match number of values (0)"));
    assert!(wrong("indexof([\"a\"], \"b\")").contains("item not found"));
    assert!(wrong("element([], 0)").contains("empty list"));
    assert!(wrong("concat(\"a\")").contains("all arguments must be lists or tuples; got string"));
}

#[test]
fn networks_have_room() {
    assert_eq!(ok("cidrhost(\"10.0.0.0/24\", -1)"), "10.0.0.255");
    assert_eq!(ok("cidrsubnet(\"fd00::/48\", 16, 162)"), "fd00:0:0:a2::/64");
    assert!(wrong("cidrsubnet(\"10.0.0.0/31\", 2, 0)").contains("insufficient address space"));
    assert!(wrong("cidrsubnet(\"10.0.0.0/8\", 1, 2)").contains("does not accommodate a subnet numbered 2"));
    assert!(wrong("cidrhost(\"10.0.0.0/30\", 4)").contains("does not accommodate a host numbered 4"));
    assert!(wrong("cidrhost(\"nowhere\", 4)").contains("invalid CIDR"));
    assert!(wrong("cidrsubnets(\"10.0.0.0/30\", 1, 1, 1)").contains("not enough remaining address space"));
}

#[test]
fn times_are_read_and_written() {
    assert_eq!(
        ok("formatdate(\"YYYY-MM-DD'T'hh:mm:ssZ\", \"2024-02-29T01:02:03-05:00\")"),
        "2024-02-29T01:02:03-05:00"
    );
    assert_eq!(ok("timeadd(\"2024-02-28T23:00:00Z\", \"1h30m\")"), "2024-02-29T00:30:00Z");
    assert!(wrong("formatdate(\"Q\", \"2024-02-29T01:02:03Z\")").contains("invalid date format verb"));
    assert!(wrong("formatdate(\"YYYY\", \"yesterday\")").contains("not a valid RFC3339 timestamp"));
    assert_eq!(ok("length(regexall(\"^[0-9]{4}-\", timestamp()))"), "1");
}

#[test]
fn encodings_go_both_ways() {
    assert_eq!(ok("jsondecode(jsonencode({ a = [1, \"x\", null] })).a[1]"), "x");
    assert!(ok("bcrypt(\"secret\", 4)").starts_with("$2"));
    assert!(wrong("bcrypt(\"secret\", 31)").contains("between 4 and 14"));
    assert_eq!(ok("strlen(uuidv4())"), "36");
    assert!(wrong("rsadecrypt(\"a\", \"b\")").contains("not supported"));
    assert!(wrong("uuidv5(\"what\", \"b\")").contains("doesn't support namespace"));
    assert!(wrong("base64decode(\"/w==\")").contains("not valid UTF-8"));
    assert!(wrong("regex(\"[\", \"x\")").contains("invalid regexp pattern"));
    assert!(wrong("parseint(\"zz\", 10)").contains("cannot parse"));
}

#[test]
fn every_function_is_called_with_too_much_and_does_not_panic() {
    let arguments = [
        "",
        "null",
        "\"\"",
        "[]",
        "{}",
        "1",
        "-1, -1",
        "\"a\", \"b\"",
        "[1], 5, 9",
        "null, null, null",
        "[null], [null]",
    ];
    for name in super::names() {
        for arguments in arguments {
            let _ = eval(&format!("{name}({arguments})"));
        }
    }
}
