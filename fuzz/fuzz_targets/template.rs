//! Templates of `--format`: whatever is wrong is an error, no panic, no endless run.
#![no_main]
#![allow(dead_code, unused_imports, reason = "what the rest of the command line uses of them")]

// These files alone: the command line around them takes long to compile.
#[path = "../../crates/cli/src/template/mod.rs"]
mod template;
#[path = "../../crates/cli/src/format/time.rs"]
mod time;
#[path = "../../crates/cli/src/format/units.rs"]
mod units;
#[path = "../../crates/cli/src/value.rs"]
mod value;

mod format {
    pub(crate) use crate::{time, units};
}

use libfuzzer_sys::fuzz_target;
use template::{Mode, Template};
use value::Value;

fuzz_target!(|source: &str| {
    let Ok(template) = Template::parse(source) else { return };
    let fields = vec![
        ("Name".to_owned(), Value::Str("web".into())),
        ("Size".to_owned(), Value::Int(42)),
        ("List".to_owned(), Value::List(vec![Value::Bool(true), Value::Nil, Value::Float(1.5)])),
    ];
    // Whatever fails must do so with an error.
    let _ = template.run(&Value::Struct(fields), Mode::Data, &mut String::new());
});
