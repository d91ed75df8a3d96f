//! Files as a whole: what is found out from what, and what hostile ones come to.

use std::collections::BTreeMap;

use super::*;

fn file(name: &str, text: impl Into<String>) -> File {
    File { name: name.to_owned(), text: text.into() }
}

fn around(variables: &[(&str, &str)]) -> Around {
    let environment = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Around { environment, builtin: BTreeMap::new(), folder: "/nowhere".to_owned() }
}

fn planned(text: &str, names: &[&str], changes: &[&str], variables: &[(&str, &str)]) -> Result<Plan, String> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let files = [file("f.hcl", text)];
    let plan = plan(&files, &around(variables), &owned(names), &owned(changes), &mut Allowed::default());
    plan.map_err(|error| error.message().to_owned())
}

fn wrong(text: &str) -> String {
    planned(text, &["t"], &[], &[]).map(|_| ()).expect_err("an error")
}

fn args(plan: &Plan, target: &str) -> BTreeMap<String, String> {
    let args = plan.targets[target].args.clone().unwrap_or_default();
    args.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[test]
fn the_environment_is_over_defaults_by_their_types() {
    let text = r#"
        variable "S" { default = "s" }
        variable "N" { default = 1 }
        variable "B" { default = false }
        variable "L" {
          type    = list(string)
          default = []
        }
        variable "M" { type = map(number) }
        variable "O" { type = object({ a = string }) }
        NOT_A_VARIABLE = "fixed"
        target "t" {
          args = {
            S = S, N = N + 1, B = !B, L = join("+", L), M = jsonencode(M), O = O.a, F = NOT_A_VARIABLE
          }
        }"#;
    let variables = [
        ("S", "of env"),
        ("N", "41"),
        ("B", "T"),
        ("L", "a,\"b,c\""),
        ("M", "x:1,y:2"),
        ("O_JSON", "{\"a\":\"json\"}"),
        ("NOT_A_VARIABLE", "ignored"),
    ];
    let args = args(&planned(text, &["t"], &[], &variables).expect("a plan"), "t");
    let expected = [
        ("S", "of env"),
        ("N", "42"),
        ("B", "false"),
        ("L", "a+b,c"),
        ("M", "{\"x\":1,\"y\":2}"),
        ("O", "json"),
        ("F", "fixed"),
    ];
    for (name, value) in expected {
        assert_eq!(args[name], value, "{name}");
    }
    let error = planned(text, &["t"], &[], &[("N", "many")]).map(|_| ()).expect_err("no number");
    assert!(error.contains("failed to parse N as number"), "{error}");
    let error = planned(text, &["t"], &[], &[("O", "x")]).map(|_| ()).expect_err("no object");
    assert!(error.contains("unsupported type object for variable O"), "{error}");
}

#[test]
fn what_refers_to_itself_is_an_error() {
    assert!(
        wrong("variable \"A\" { default = B }\nvariable \"B\" { default = A }\n")
            .contains("variable cycle not allowed for A")
    );
    assert!(wrong("A = \"${A}\"\ntarget \"t\" {}\n").contains("variable cycle not allowed for A"));
    let functions = "function \"f\" {\n  params = [x]\n  result = g(x)\n}\nfunction \"g\" {\n  params = [x]\n  result = f(x)\n}\n";
    assert!(wrong(functions).contains("function cycle not allowed for f"));
    assert!(
        wrong("function \"f\" {\n  params = []\n  result = f()\n}\n")
            .contains("function cycle not allowed for f")
    );
    assert!(
        wrong("target \"t\" { dockerfile = target.t.dockerfile }\n")
            .contains("reference cycle not allowed for target.t.dockerfile")
    );
    let whole = "target \"t\" { args = { a = jsonencode(target.u) } }\ntarget \"u\" { args = { a = jsonencode(target.t) } }\n";
    assert!(wrong(whole).contains("reference cycle not allowed"));
    // These end by themselves, as buildx has it.
    assert!(planned("target \"t\" { inherits = [\"t\"] }\n", &["t"], &[], &[]).is_ok());
    assert!(planned("group \"g\" { targets = [\"g\", \"t\"] }\ntarget \"t\" {}\n", &["g"], &[], &[]).is_ok());
}

#[test]
fn long_chains_end_in_an_error() {
    let chain = |count: usize, one: fn(usize) -> String| (0..count).map(one).collect::<String>();
    let variables = chain(2_000, |n| format!("variable \"V{n}\" {{ default = V{} }}\n", n + 1));
    assert!(
        wrong(&(variables + "variable \"V2000\" { default = 1 }\ntarget \"t\" {}\n"))
            .contains("refer to each other in a chain")
    );
    let functions =
        chain(2_000, |n| format!("function \"f{n}\" {{\n  params = []\n  result = f{}()\n}}\n", n + 1));
    assert!(wrong(&functions).contains("refer to each other in a chain"));
    let inherits = chain(1_000, |n| format!("target \"t{n}\" {{ inherits = [\"t{}\"] }}\n", n + 1));
    let error =
        planned(&(inherits + "target \"t1000\" {}\n"), &["t0"], &[], &[]).map(|_| ()).expect_err("a chain");
    assert!(error.contains("inherit from each other in a chain"), "{error}");
    let links =
        chain(1_000, |n| format!("target \"t{n}\" {{ contexts = {{ b = \"target:t{}\" }} }}\n", n + 1));
    let error =
        planned(&(links + "target \"t1000\" {}\n"), &["t0"], &[], &[]).map(|_| ()).expect_err("a chain");
    assert!(error.contains("built upon each other in a chain"), "{error}");
    let references =
        chain(1_000, |n| format!("target \"t{n}\" {{ dockerfile = target.t{}.dockerfile }}\n", n + 1));
    assert!(wrong(&(references + "target \"t1000\" {}\n")).contains("refer to each other in a chain"));
}

#[test]
fn what_grows_without_bound_is_an_error() {
    let mut doubled = "variable \"V0\" { default = \"xxxxxxxxxx\" }\n".to_owned();
    let mut nested = "variable \"V0\" { default = [1] }\n".to_owned();
    for n in 1..64 {
        doubled.push_str(&format!("variable \"V{n}\" {{ default = \"${{V{0}}}${{V{0}}}\" }}\n", n - 1));
        nested.push_str(&format!("variable \"V{n}\" {{ default = [V{0}, V{0}] }}\n", n - 1));
    }
    for text in [&doubled, &nested] {
        let error = wrong(text);
        assert!(error.contains("the value is too large: more than 4 MiB"), "{error}");
    }
    let loops = "[for a in range(1000) : [for b in range(1000) : [for c in range(1000) : a]]]";
    for expression in [
        loops,
        "setproduct(range(1000), range(1000), range(1000))",
        "indent(1000000000, \"a\\nb\")",
        "replace(join(\"\", [for x in range(1000) : \"aaaaaaaaaa\"]), \"a\", join(\"\", [for x in range(1000) : \"b\"]))",
        "join(join(\"\", [for x in range(1000) : \"0123456789\"]), range(1000))",
    ] {
        let error = wrong(&format!("V = {expression}\n"));
        assert!(error.contains("too large") || error.contains("takes too much"), "{expression}: {error}");
    }
    let matrix = "target \"t\" {\n  name = \"x${a}${b}\"\n  matrix = {\n    a = range(1000)\n    b = range(1000)\n  }\n}\n";
    assert!(wrong(matrix).contains("matrix has more than 4096 places"));
}

#[test]
fn deep_nesting_is_an_error() {
    for (open, close) in
        [("[", "]"), ("(", ")"), ("{ a = ", "}"), ("!", ""), ("\"${", "}\""), ("upper(", ")")]
    {
        let text = format!("V = {}1{}\n", open.repeat(10_000), close.repeat(10_000));
        assert!(!wrong(&text).is_empty());
    }
    let sum = format!("V = {}1\n", "1 + ".repeat(10_000));
    assert!(!wrong(&sum).is_empty());
    let blocks = format!("{}{}", "a {\n".repeat(10_000), "}\n".repeat(10_000));
    assert!(!wrong(&blocks).is_empty());
    let json = format!("{{\"V\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let error = read(&[file("f.json", json)], &around(&[])).map(|_| ()).expect_err("too deep");
    assert!(error.message().contains("nested too deeply"), "{error}");
}

#[test]
fn mistakes_of_json_have_their_place() {
    let error = |text: &str| {
        let error = read(&[file("f.json", text)], &around(&[])).map(|_| ()).expect_err(text);
        error.message().to_owned()
    };
    assert!(
        error("{\n  \"target\": {\n    \"t\": {\"dockerfile\": \"${nosuch}\"}\n  }\n}\n")
            .starts_with("f.json:3,28-34: Unknown variable")
    );
    assert!(error("{\"a\": 1,}").contains("no comma before the end"));
    assert!(error("[]").contains("must be a JSON object"));
    assert!(error("{\"a\": \"x}").contains("no end on its line"));
    assert!(error("{\"target\": 5}").contains("A JSON object is required"));
    assert!(error("{\"a\": nul}").contains("A JSON value may be null"));
}

#[test]
fn changes_are_read_as_buildx_reads_them() {
    let text = "target \"app-a\" {}\ntarget \"app-b\" {}\n";
    let refused = |change: &str| planned(text, &["app-a"], &[change], &[]).map(|_| ()).expect_err(change);
    assert_eq!(refused("tags=x"), "invalid override key tags, expected target.name");
    assert_eq!(refused("app-a.tags"), "invalid override app-a.tags, expected target.name=value");
    assert_eq!(refused("app-a.args=x"), "invalid key app-a.args, args requires name");
    assert_eq!(refused("other.tags=x"), "could not find any target matching 'other'");
    assert_eq!(refused("[.tags=x"), "could not match targets with '[': syntax error in pattern");
    assert_eq!(refused("app-a.what=x"), "unknown key: what");
    assert_eq!(refused("app-a.pull=maybe"), "invalid value maybe for boolean key pull");
    let changed = planned(text, &["app-*"], &["*.args.A", "*.args.NOT", "app-b.network=none"], &[("A", "1")]);
    let changed = changed.expect("a plan");
    assert_eq!(args(&changed, "app-b"), BTreeMap::from([("A".to_owned(), "1".to_owned())]));
    // buildx 0.29 takes the value for a list and leaves the network empty.
    assert_eq!(changed.targets["app-b"].network.as_deref(), Some("none"));
}

#[test]
fn files_without_a_known_name_are_what_they_hold() {
    let hcl = file("-", "target \"t\" {}\n");
    let json = file("-", "{\"target\": {\"j\": {}}}");
    let compose = file("-", "services:\n  c:\n    build: .\n");
    let config = read(&[hcl, json, compose], &around(&[])).expect("three files");
    let names: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["c", "t", "j"]);
    let error =
        read(&[file("x.yaml", "services: [")], &around(&[])).map(|_| ()).expect_err("no Compose file");
    assert!(error.message().contains("x.yaml") && !error.message().contains("/.bake-0"), "{error}");
}
