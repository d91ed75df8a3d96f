//! Containers as the engine starts them: what is inside, what is hidden, how they end.

mod support;

use support::Box;

#[test]
fn a_program_runs_and_its_code_comes_back() {
    let mut container = Box::sh("echo hello; echo oops >&2; exit 7");
    let (code, said) = container.run();
    assert_eq!(code, 7);
    assert!(said.contains("hello\n") && said.contains("oops\n"), "{said}");
    assert!(container.cgroups().is_empty());
}
