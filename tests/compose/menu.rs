//! The keys of an attached `up`, in a real pseudo-terminal (util-linux's `script`).

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dray_harness::Daemon;
use dray_harness::client::{eventually, wait_within};

use crate::project::Project;

const LIMIT: Duration = Duration::from_secs(60);

/// A command in a terminal, what it has shown, and a keyboard.
struct Terminal {
    script: Child,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn new(project: &Project, args: &[&str], columns: u16) -> Self {
        let inner = project.command(args);
        let words = std::iter::once(inner.get_program()).chain(inner.get_args());
        let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let mut command = Command::new("script");
        command.args(["-qefc", &format!("stty rows 20 cols {columns}; {line}"), "/dev/null"]);
        for (name, value) in inner.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.env("TERM", "xterm").current_dir(project.folder.path());
        let mut script =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script of util-linux");
        let mut out = script.stdout.take().expect("its output");
        let shown = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut buffer) {
                into.lock().expect("shown").push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        Terminal { script, shown }
    }

    fn text(&self) -> String {
        self.shown.lock().expect("shown").clone()
    }

    fn shows(&self, text: &str) {
        eventually(text, || self.text().contains(text));
    }

    /// What was shown until now is passed over.
    fn press(&mut self, keys: &[u8]) {
        self.shown.lock().expect("shown").clear();
        self.script.stdin.as_mut().expect("its input").write_all(keys).expect("a key");
    }

    /// Ctrl+C, and the code it ends with.
    fn interrupt(mut self) -> Option<i32> {
        self.press(b"\x03");
        self.shows("Gracefully Stopping");
        let code = wait_within(&mut self.script, LIMIT).and_then(|status| status.code());
        let text = self.text();
        let after = text.split("Gracefully Stopping").nth(1).unwrap_or_default();
        assert!(!after.contains("Watch"), "the line of keys is gone: {after:?}");
        code
    }
}

const TICKS: &str = "name: p\nservices:\n  a:\n    image: busybox\n    stop_grace_period: 0s\n    \
                     command: sh -c 'while sleep 0.2; do echo tick; done'\n";

#[test]
fn a_key_begins_and_ends_the_watch() {
    let daemon = Daemon::start();
    let project = Project::new(&daemon);
    fs::create_dir(project.folder.path().join("src")).expect("src");
    let develop = "    develop: {watch: [{action: sync, path: ./src, target: /app}]}\n";
    project.write(&format!("{TICKS}{develop}"));
    let inside = |name: &str| {
        project.run(&["exec", "-T", "a", "cat", &format!("/app/{name}")]).stdout.trim() == "content"
    };
    let mut terminal = Terminal::new(&project, &["up"], 80);
    terminal.shows("tick");
    terminal.shows(" Enable Watch");
    terminal.press(b"w");
    terminal.shows("Watch enabled");
    terminal.shows(" Disable Watch");
    fs::write(project.folder.path().join("src/one"), "content").expect("one");
    eventually("the file is there", || inside("one"));
    terminal.press(b"w");
    terminal.shows("Watch disabled");
    fs::write(project.folder.path().join("src/two"), "content").expect("two");
    terminal.press(b"w");
    terminal.shows("Watch enabled");
    fs::write(project.folder.path().join("src/three"), "content").expect("three");
    eventually("it goes on with what changes from then on", || inside("three"));
    assert!(!inside("two"), "nobody watched");
    assert_eq!(terminal.interrupt(), Some(130));
}

#[test]
fn keys_are_there_for_those_who_can_press_them() {
    let daemon = Daemon::start();
    let project = Project::new(&daemon);
    project.write(TICKS);
    // Wide enough for half of the note: a line that wraps could not be taken away.
    let mut terminal = Terminal::new(&project, &["up"], 40);
    terminal.shows(" Enable Watch");
    terminal.press(b"w");
    terminal.shows("Watch →  watch");
    terminal.shows("tick");
    assert!(!terminal.text().contains("configured"), "{:?}", terminal.text());
    assert_eq!(terminal.interrupt(), Some(130));
    let without = Terminal::new(&project, &["up", "--menu=false"], 80);
    without.shows("tick");
    assert!(!without.text().contains("Enable Watch"), "{:?}", without.text());
    assert_eq!(without.interrupt(), Some(130));
}
