//! Holds the picture of the crates against what cargo sees: arrows only point down.

use cargo_metadata::{DependencyKind, MetadataCommand};

/// The layers of ARCHITECTURE.md, from the bottom up. A crate may use only crates of lower layers.
const LAYERS: &[&[&str]] = &[
    &["dray-spec", "dray-sys"],
    &[
        "dray-api",
        "dray-store",
        "dray-runtime",
        "dray-network",
        "dray-trust",
        "dray-buildkit",
        "dray-backup",
        "dray-scan",
    ],
    &["dray-client", "dray-registry"],
    &["dray-image", "dray-compose", "dray-registry-server"],
    &["dray-build", "dray-bake"],
    &["dray-engine"],
    &["dray-cli", "dray-daemon"],
    &["dray"],
];

/// Outside the picture: they may use whatever they test or build.
const OUTSIDE: &[&str] = &["dray-harness", "xtask"];

/// Pairs of one layer or above it that must never meet, whatever the layers say.
const NEVER: &[(&str, &str)] = &[
    ("dray-runtime", "dray-store"),
    ("dray-store", "dray-api"),
    ("dray-network", "dray-api"),
    ("dray-image", "dray-api"),
    ("dray-build", "dray-api"),
    ("dray-cli", "dray-engine"),
    ("dray-cli", "dray-store"),
];

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

fn arrows() -> Vec<(String, String)> {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata");
    let mut arrows = Vec::new();
    for package in &metadata.packages {
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            if dependency.path.is_some() {
                arrows.push((package.name.to_string(), dependency.name.clone()));
            }
        }
    }
    arrows
}

#[test]
fn every_crate_has_a_layer() {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata");
    for package in &metadata.packages {
        let name = package.name.as_str();
        assert!(
            layer(name).is_some() || OUTSIDE.contains(&name),
            "{name} is in no layer: give it one here and in ARCHITECTURE.md"
        );
    }
}

#[test]
fn arrows_only_point_down() {
    for (from, to) in arrows().iter().filter(|(from, _)| !OUTSIDE.contains(&from.as_str())) {
        let (above, below) = (layer(from).expect("a layer"), layer(to).expect("a layer"));
        assert!(above > below, "{from} (layer {above}) uses {to} (layer {below})");
        assert!(!NEVER.contains(&(from.as_str(), to.as_str())), "{from} must not know {to}");
    }
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata");
    for package in metadata.packages.iter().filter(|package| package.name != "dray-sys") {
        let source = package.manifest_path.parent().expect("a folder").join("src");
        for file in rust_files(source.as_std_path()) {
            let text = std::fs::read_to_string(&file).expect("source file");
            assert!(!text.contains("allow(unsafe_code)"), "{} allows unsafe code", file.display());
        }
    }
}

fn rust_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() { rust_files(&path) } else { vec![path] }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}
