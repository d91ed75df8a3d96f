use super::*;

fn run(template: &str, json: &str) -> String {
    let value = Value::from_json(json.as_bytes()).expect("json");
    let mut out = String::new();
    match Template::parse(template).and_then(|t| t.run(&value, Mode::Data, &mut out)) {
        Ok(()) => out,
        Err(e) => format!("{out}!{e}"),
    }
}

const CONTAINER: &str = r#"{"Id":"abc","Name":"/web","State":{"Running":true,"ExitCode":0,"Pid":42},
 "Config":{"Env":["A=b","C=d"],"Labels":{"x.y":"1","a":"2"},"Cmd":null},
 "NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}],"443/tcp":null}}}"#;

#[test]
fn fields_and_idioms_of_inspect() {
    for (template, want) in [
        ("{{.State.Running}}", "true"),
        ("{{json .Config.Env}}", r#"["A=b","C=d"]"#),
        ("{{.Config.Env}}", "[A=b C=d]"),
        ("{{.Id}} {{.ID}}", "abc abc"),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=b\nC=d\n"),
        ("{{index .Config.Labels \"x.y\"}}", "1"),
        ("{{index .Config.Labels \"none\"}}", ""),
        ("{{.Config.Labels}}", "map[a:2 x.y:1]"),
        ("{{with .State}}{{if .Running}}up {{.Pid}}{{else}}down{{end}}{{end}}", "up 42"),
        (
            "{{range $p, $conf := .NetworkSettings.Ports}}{{$p}} -> {{if $conf}}{{(index $conf 0).HostPort}}{{end}};{{end}}",
            "443/tcp -> ;80/tcp -> 8080;",
        ),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"),
        ("{{slice .Id 1 3}}", "bc"),
        ("{{.Name | upper | printf \"%-6s|\"}}", "/WEB  |"),
        ("{{join .Config.Env \",\"}}", "A=b,C=d"),
        ("{{len .Config.Env}} {{len .Name}}", "2 4"),
        ("{{(index .Config.Env 0) | printf \"%q\"}}", "\"A=b\""),
        ("{{- /* a comment */ -}} x", "x"),
        ("a {{- 1 -}} b", "a1b"),
    ] {
        assert_eq!(run(template, CONTAINER), want, "{template}");
    }
}

#[test]
fn control_and_variables() {
    for (template, want) in [
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        (
            "{{range $i, $e := .l}}{{if eq $i 1}}{{continue}}{{end}}{{$e}}{{if gt $i 2}}{{break}}{{end}}{{end}}",
            "acd",
        ),
        ("{{range .none}}x{{else}}empty{{end}}", "empty"),
        ("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .s}}", "<hi>"),
        ("{{block \"b\" .s}}[{{.}}]{{end}}", "[hi]"),
        ("{{with $y := .s}}{{$y}}{{end}}", "hi"),
        ("{{if and .s (not .none)}}y{{end}}", "y"),
        ("{{or .none \"d\"}}", "d"),
        ("{{if eq .s \"a\" \"hi\"}}y{{end}}", "y"),
        ("{{if ne .s \"a\"}}y{{end}}", "y"),
        ("{{if lt 1 2}}{{if ge 2 2}}y{{end}}{{end}}", "y"),
        ("{{if .none}}a{{else if .s}}b{{else}}c{{end}}", "b"),
        ("{{printf \"%5d|%05d|%.2f|%t|%x\" 42 42 1.5 true 255}}", "   42|00042|1.50|true|ff"),
        ("{{print 1 2 \"x\" 3}}", "1 2x3"),
        ("{{html \"<a>\"}} {{urlquery \"a b&\"}} {{js \"it's\"}}", "&lt;a&gt; a+b%26 it\\'s"),
        ("{{split \"a:b\" \":\"}} {{title \"two words\"}} {{pad \"x\" 1 2}}|", "[a b] Two Words  x  |"),
        ("{{truncate \"abcdef\" 3}}", "abc"),
        ("{{`raw`}}{{\"\\t\"}}{{'a'}}{{0x10}}{{1.5}}", "raw\t97161.5"),
    ] {
        assert_eq!(run(template, r#"{"l":["a","b","c","d","e"],"s":"hi","none":null}"#), want, "{template}");
    }
}

#[test]
fn errors_have_gos_texts() {
    for (template, want) in [
        ("{{.Foo", "!template: :1: unclosed action"),
        ("{{foo}}", "!template: :1: function \"foo\" not defined"),
        ("x\n{{if}}", "!template: :2: missing value for if"),
        ("{{if .Id}}", "!template: :1: unexpected EOF"),
        ("{{end}}", "!template: :1: unexpected {{end}}"),
        ("{{$x}}", "!template: :1: undefined variable \"$x\""),
        ("{{.Nope}}", "!template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\""),
        ("ab {{.Nope}}", "ab !template: :1:5: executing \"\" at <.Nope>: map has no entry for key \"Nope\""),
        ("{{\"x}}", "!template: :1: unterminated quoted string"),
    ] {
        assert_eq!(run(template, CONTAINER), want, "{template}");
    }
}

#[test]
fn hostile_templates_end() {
    assert!(
        run("{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}", "{}")
            .contains("maximum template depth")
    );
    assert!(run(&"{{(".repeat(200), "{}").starts_with('!'));
    assert!(run("{{printf \"%999999999d\" 1}}", "{}").len() < 5000);
}
