//! One printed line per figure: every side's median, and how many times better Dray is than each peer.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::side::Side;

/// A peer's round that takes longer than this is its last.
const PATIENCE: Duration = Duration::from_secs(15);

/// Prints figures as they are measured.
pub struct Table {
    rounds: usize,
}

/// What a line says beside its numbers.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    /// What is measured.
    pub name: &'a str,
    /// The ratio to Docker that is wanted; 0 for none.
    pub goal: f64,
    /// Whether less is better: times and memory, but not throughput.
    pub less_is_better: bool,
    /// The unit of the numbers.
    pub unit: &'a str,
}

impl<'a> Line<'a> {
    /// A time in milliseconds.
    pub fn time(name: &'a str, goal: f64) -> Self {
        Self { name, goal, less_is_better: true, unit: "ms" }
    }

    /// Memory in MB.
    pub fn memory(name: &'a str, goal: f64) -> Self {
        Self { name, goal, less_is_better: true, unit: "MB" }
    }

    /// A time in microseconds.
    pub fn micros(name: &'a str) -> Self {
        Self { name, goal: 0.0, less_is_better: true, unit: "us" }
    }

    /// How often in a second.
    pub fn each_second(name: &'a str) -> Self {
        Self { name, goal: 0.0, less_is_better: false, unit: "/s" }
    }

    /// Throughput in Gbit/s.
    pub fn rate(name: &'a str) -> Self {
        Self { name, goal: 0.0, less_is_better: false, unit: "Gb" }
    }
}

impl Table {
    /// A table of figures that are medians of `rounds`.
    pub fn new(rounds: usize, sides: &[&str]) -> Self {
        print!("{:<44}", "figure (median)");
        for side in sides {
            print!(" {side:>12}");
        }
        for peer in sides.iter().skip(1) {
            print!(" {:>10}", format!("x {peer}"));
        }
        println!("   goal");
        Self { rounds }
    }

    /// `rounds`, as given by the user.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Rounds of a figure that takes a while: a third of the usual, at least 3.
    pub fn few(&self) -> usize {
        (self.rounds / 3).max(3)
    }

    /// Times `work` on each side in turn, `rounds` times, and prints the medians.
    pub fn time(
        &self,
        line: Line<'_>,
        sides: &[Side],
        rounds: usize,
        work: impl FnMut(&Side, usize) -> Result<()>,
    ) -> Result<()> {
        self.time_and_undo(line, sides, rounds, work, |_| Ok(()))
    }

    /// As [`Table::time`]; what `undo` takes is not counted.
    pub fn time_and_undo(
        &self,
        line: Line<'_>,
        sides: &[Side],
        rounds: usize,
        mut work: impl FnMut(&Side, usize) -> Result<()>,
        mut undo: impl FnMut(&Side) -> Result<()>,
    ) -> Result<()> {
        let mut took: Vec<Option<Vec<Duration>>> = sides.iter().map(|_| Some(Vec::new())).collect();
        let mut medians: Vec<Option<f64>> = vec![None; sides.len()];
        for round in 0..=rounds {
            for (n, (side, slot)) in sides.iter().zip(&mut took).enumerate() {
                let Some(times) = slot else { continue };
                let start = Instant::now();
                let done = work(side, round);
                let elapsed = start.elapsed();
                match done.and_then(|()| undo(side)) {
                    // A peer so slow is measured once: the bench has an end.
                    Ok(()) if side.is_optional() && elapsed > PATIENCE => {
                        medians[n] = Some(elapsed.as_secs_f64() * 1e3);
                        *slot = None;
                    }
                    // The first round warms caches on all sides and is not counted.
                    Ok(()) if round > 0 => times.push(elapsed),
                    Ok(()) => {}
                    Err(error) if side.is_optional() => {
                        println!("{}: {} cannot: {error:#}", line.name, side.name);
                        *slot = None;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        for (median, times) in medians.iter_mut().zip(took) {
            *median = times.map(median_ms).or(*median);
        }
        self.line(line, &medians);
        Ok(())
    }

    /// Prints a figure: a number for each side, Dray's first; `None` where a side has none.
    pub fn line(&self, line: Line<'_>, numbers: &[Option<f64>]) {
        print!("{:<44}", line.name);
        for number in numbers {
            print!(" {:>12}", number.map_or("-".to_owned(), |number| format!("{number:.2} {}", line.unit)));
        }
        let dray = numbers.first().copied().flatten();
        for peer in numbers.iter().skip(1) {
            let ratio = dray.zip(*peer).map(
                |(dray, peer)| {
                    if line.less_is_better { peer / dray } else { dray / peer }
                },
            );
            print!(" {:>10}", ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.1}x")));
        }
        println!("   {}", if line.goal > 0.0 { format!("{}x", line.goal) } else { "-".to_owned() });
    }

    /// What the figures were measured on.
    pub fn machine_line(&self) -> String {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        format!("kernel {}, {cores} cores, {} rounds", kernel.trim(), self.rounds)
    }
}

/// The median in milliseconds.
pub fn median_ms(times: Vec<Duration>) -> f64 {
    median(times.iter().map(Duration::as_secs_f64).collect()) * 1e3
}

/// The middle value; 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
