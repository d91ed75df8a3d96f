//! One printed line per figure: both medians and their ratio.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::side::Side;

/// Prints figures as they are measured.
pub struct Table {
    rounds: usize,
}

impl Table {
    /// A table of figures that are medians of `rounds`.
    pub fn new(rounds: usize) -> Self {
        println!("{:<44} {:>12} {:>12} {:>9}   goal", "figure (median)", "dray", "docker", "ratio");
        Self { rounds }
    }

    /// Rounds of a figure that takes a while: a third of the usual, at least 3.
    pub fn few(&self) -> usize {
        (self.rounds / 3).max(3)
    }

    /// Times `work` on each side in turn, `rounds` times, and prints the medians in milliseconds.
    pub fn time(
        &self,
        name: &str,
        goal: f64,
        sides: &[Side; 2],
        rounds: usize,
        mut work: impl FnMut(&Side, usize) -> Result<()>,
    ) -> Result<()> {
        let mut took: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
        for round in 0..=rounds {
            for (side, took) in sides.iter().zip(&mut took) {
                let start = Instant::now();
                work(side, round)?;
                // The first round warms caches on both sides and is not counted.
                if round > 0 {
                    took.push(start.elapsed());
                }
            }
        }
        let [dray, docker] = took.map(|took| median(took.iter().map(Duration::as_secs_f64).collect()) * 1e3);
        self.line(name, "ms", dray, docker, docker / dray, goal);
        Ok(())
    }

    /// `rounds`, as given by the user.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Prints a figure of any unit; `ratio` says how many times better Dray is.
    pub fn line(&self, name: &str, unit: &str, dray: f64, docker: f64, ratio: f64, goal: f64) {
        let goal = if goal > 0.0 { format!("{goal}x") } else { "-".to_owned() };
        println!("{name:<44} {dray:>9.2} {unit:<2} {docker:>9.2} {unit:<2} {ratio:>7.1}x   {goal}");
    }

    /// What the figures were measured on.
    pub fn machine_line(&self) -> String {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        format!("kernel {}, {cores} cores, {} rounds", kernel.trim(), self.rounds)
    }
}

/// The middle value; 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
