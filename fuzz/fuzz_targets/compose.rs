//! Compose files: whatever is loaded can be written, whatever is refused is told of; nothing panics or grows without bound.
#![no_main]

use dray_compose::load::MemoryDisk;
use dray_compose::model::Form;
use dray_compose::render::{json, yaml};
use dray_compose::{Loader, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (main, other) = text.split_once('\0').unwrap_or((text, ""));
    let files = [("/p/compose.yaml", main), ("/p/other.yaml", other), ("/p/.env", other)];
    let disk = MemoryDisk(files.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect());
    let loader = Loader::new(&disk);
    let request = Request { current: "/p".into(), ..Request::default() };
    match loader.project(&request) {
        Ok(project) => {
            json::indented(&project.write(Form::Json));
            yaml::document(&project.write(Form::Yaml));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
