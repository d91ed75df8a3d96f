//! Figures, not promises: how long a start takes, step by step, and what a shim weighs. Run by hand:
//! `cargo test --release -p dray-runtime --test speed -- --ignored --nocapture`.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use dray_spec::runtime::NamespaceKind;
use support::Box;

const ROUNDS: usize = 60;

fn median(values: &mut [u64]) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

/// The tenth part that was fastest ends here: what it takes when nobody else wants the processor.
fn best(values: &[u64]) -> u64 {
    values[values.len() / 10]
}

#[test]
#[ignore = "measures"]
fn start_and_exec() {
    for network in [false, true] {
        let (mut starts, mut whole, mut execs, mut answers) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut steps: BTreeMap<usize, (String, Vec<u64>)> = BTreeMap::new();
        let mut container = Box::new(&["sleep", "60"]);
        container.request.trace = true;
        // As /run is on most machines: a run directory on a disk waits for the disk.
        container.request.run_dir = format!("/dev/shm/{}", container.id).into();
        if !network {
            container.linux().namespaces.retain(|namespace| namespace.kind != NamespaceKind::Network);
        }
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let started = container.start().unwrap();
            starts.push(begun.elapsed().as_micros() as u64);
            let inside: u64 = started.trace.iter().map(|step| step.micros).sum();
            answers.push(starts[starts.len() - 1].saturating_sub(inside));
            for (at, step) in started.trace.iter().enumerate() {
                steps.entry(at).or_insert_with(|| (step.step.clone(), Vec::new())).1.push(step.micros);
            }
            let begun = Instant::now();
            container.exec_run(&["true"]);
            execs.push(begun.elapsed().as_micros() as u64);
            let begun = Instant::now();
            container.shim().kill(9).unwrap();
            container.wait();
            whole.push(begun.elapsed().as_micros() as u64);
        }
        fs::remove_dir_all(&container.request.run_dir).unwrap();
        println!("network namespace: {network}");
        println!("  {:24} {:>8} {:>8}", "microseconds", "median", "p10");
        let all = [
            ("start to exec", &mut starts),
            ("of it, not traced", &mut answers),
            ("exec of true", &mut execs),
            ("kill to exit", &mut whole),
        ];
        for (name, values) in all {
            println!("  {name:24} {:8} {:8}", median(values), best(values));
        }
        for (name, values) in steps.values_mut() {
            println!("    {name:22} {:8} {:8}", median(values), best(values));
        }
    }
}

#[test]
#[ignore = "measures"]
fn memory() {
    let mut containers: Vec<Box> = (0..20).map(|_| Box::sh("echo started; sleep 60")).collect();
    for container in &mut containers {
        container.start().unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let kib = |rollup: &str, name: &str| -> u64 {
        let line = rollup.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let mut sizes: Vec<u64> = containers
        .iter()
        .map(|container| {
            let pid = container.started.as_ref().unwrap().shim_pid;
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
            kib(&rollup, "Private_Clean:") + kib(&rollup, "Private_Dirty:")
        })
        .collect();
    let pid = containers[3].started.as_ref().unwrap().shim_pid;
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut area = String::new();
    for line in smaps.lines() {
        if line.contains('-') && line.contains(" r") || line.contains(" ---p") {
            area = line.to_owned();
        }
        if line.starts_with("Private_Dirty:") && !line.contains(" 0 kB") {
            println!("  {} {}", line.trim_start_matches("Private_Dirty:").trim(), area);
        }
    }
    println!("private memory of a shim: {} KiB (median of {})", median(&mut sizes), sizes.len());
}
