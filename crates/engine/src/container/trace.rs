//! How long the steps of a start took: `DRAY_TRACE=1` prints a table of them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use dray_runtime::TraceStep;

/// A stopwatch for the steps of one start.
#[derive(Debug)]
pub struct Trace {
    on: bool,
    began: Instant,
    last: Instant,
    steps: Vec<(String, Duration)>,
}

impl Trace {
    /// Begins; when not `on`, nothing is kept.
    pub fn new(on: bool) -> Self {
        let now = Instant::now();
        Self { on, began: now, last: now, steps: Vec::new() }
    }

    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// The time since the last step was `step`.
    pub fn step(&mut self, step: &str) {
        let now = Instant::now();
        if self.on {
            self.steps.push((step.to_owned(), now - self.last));
        }
        self.last = now;
    }

    /// What the shim and the init did within the last step.
    pub fn inner(&mut self, steps: &[TraceStep]) {
        if self.on {
            let of = |step: &TraceStep| (format!("  {}", step.step), Duration::from_micros(step.micros));
            self.steps.extend(steps.iter().map(of));
        }
    }

    /// Prints the table to standard error.
    pub fn print(&self, name: &str) {
        if self.on {
            eprint!("{}", self.table(name));
        }
    }

    fn table(&self, name: &str) -> String {
        let mut table = format!("start of {name}\n");
        for (step, took) in &self.steps {
            let _ = writeln!(table, "  {:>8.3} ms  {step}", took.as_secs_f64() * 1e3);
        }
        let _ = writeln!(table, "  {:>8.3} ms  total", (self.last - self.began).as_secs_f64() * 1e3);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_steps() {
        let mut trace = Trace::new(true);
        trace.step("network");
        trace.inner(&[TraceStep { step: "clone".into(), micros: 1500 }]);
        let table = trace.table("web");
        assert!(table.contains("network") && table.contains("1.500 ms    clone") && table.contains("total"));
    }
}
