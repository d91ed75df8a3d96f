//! The runtime on its own, as other engines call it; the same code as in `dray`.

fn main() -> std::process::ExitCode {
    dray_runtime::main(std::env::args_os().collect())
}
