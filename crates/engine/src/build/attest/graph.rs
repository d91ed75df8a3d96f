//! The steps of a build as BuildKit's operations (solver/pb/ops.proto there), as its provenance has them in JSON.

use std::collections::BTreeMap;

use dray_build::dockerfile::{Mount, MountKind, Sharing};
use dray_build::{Capture, DoneStep, Material, Operation};
use dray_spec::{Digest, Reference};
use serde_json::{Map, Value, json};

/// The number of an input that is none.
const NOTHING: i64 = -1;
/// Permissions of a directory that is made: 0755.
const DIRECTORY_MODE: u32 = 0o755;
/// Permissions of a secret, and of an agent's socket, unless they are said.
const SECRET_MODE: u32 = 0o400;
const AGENT_MODE: u32 = 0o600;

/// The operations of a build, and by what their digests stand for them.
pub(super) fn definition(capture: &Capture) -> Value {
    let images = images(capture);
    let mut steps: Vec<Value> =
        capture.steps.iter().enumerate().map(|(n, step)| described(n, step, &images)).collect();
    if let Some(result) = capture.result {
        let id = format!("step{}", steps.len());
        steps.push(json!({ "id": id, "inputs": [format!("step{result}:0")], "op": { "Op": {} } }));
    }
    let mapping = mapping(&steps);
    json!({ "llbDefinition": steps, "digestMapping": mapping })
}

/// The operations that brought the Dockerfile, of a client's folder.
pub(super) fn of_dockerfile(name: &str) -> Value {
    let followed = json!([name, format!("{name}.dockerignore"), name.to_lowercase()]).to_string();
    let attrs = json!({
        "local.differ": "none",
        "local.followpaths": followed,
        "local.sharedkeyhint": "dockerfile",
    });
    let source = json!({ "source": { "attrs": attrs, "identifier": "local://dockerfile" } });
    let steps = [
        json!({ "id": "step0", "op": { "Op": source, "constraints": {} } }),
        json!({ "id": "step1", "inputs": ["step0:0"], "op": { "Op": {} } }),
    ];
    json!({ "llbDefinition": steps, "digestMapping": mapping(&steps) })
}

/// Which operation a digest stands for. Each has what it works upon in it, as in BuildKit's graphs, so that the same
/// work of another graph has the same digest.
fn mapping(steps: &[Value]) -> Map<String, Value> {
    let mut digests: BTreeMap<String, String> = BTreeMap::new();
    let mut mapping = Map::new();
    for step in steps {
        let inputs = step["inputs"].as_array().into_iter().flatten();
        let of_input = |input: &Value| {
            let (id, output) = input.as_str()?.split_once(':')?;
            Some(format!("{}:{output}", digests.get(id)?))
        };
        let inputs: Vec<String> = inputs.filter_map(of_input).collect();
        let digest = Digest::sha256_of(json!({ "inputs": inputs, "op": step["op"] }).to_string().as_bytes());
        let id = step["id"].as_str().unwrap_or_default();
        digests.insert(id.to_owned(), digest.to_string());
        mapping.insert(digest.to_string(), id.into());
    }
    mapping
}

/// The digests of images, by the identifiers of the steps that brought them.
fn images(capture: &Capture) -> BTreeMap<String, &Digest> {
    capture.materials.iter().filter_map(pinned).collect()
}

fn pinned(material: &Material) -> Option<(String, &Digest)> {
    let Material::Image { name, digest: Some(digest), .. } = material else { return None };
    let name = Reference::parse(name).map_or_else(|_| name.clone(), |name| name.tagged().to_string());
    Some((format!("docker-image://{name}"), digest))
}

fn described(n: usize, step: &DoneStep, images: &BTreeMap<String, &Digest>) -> Value {
    let operation = match &step.operation {
        Operation::Source { identifier } => source(identifier, images),
        Operation::Exec { .. } => exec(step),
        Operation::File { .. } => file(step),
        Operation::Directory { path } => {
            let made = json!({
                "path": path,
                "makeParents": true,
                "mode": DIRECTORY_MODE,
                "timestamp": NOTHING,
            });
            let base = if step.is_upon { 0 } else { NOTHING };
            json!({ "file": { "actions": [{
                "Action": { "mkdir": made },
                "input": base,
                "output": 0,
                "secondaryInput": NOTHING,
            }] } })
        }
    };
    let mut op = json!({ "Op": operation, "constraints": {} });
    // Files are the same for all platforms.
    let is_for_all = match &step.operation {
        Operation::File { .. } | Operation::Directory { .. } => true,
        Operation::Source { identifier } => !identifier.starts_with("docker-image://"),
        Operation::Exec { .. } => false,
    };
    if !is_for_all {
        op["platform"] = json!({ "Architecture": step.platform.architecture, "OS": step.platform.os });
        if let Some(variant) = &step.platform.variant {
            op["platform"]["Variant"] = variant.as_str().into();
        }
    }
    let mut described = json!({ "id": format!("step{n}"), "op": op });
    if !step.inputs.is_empty() {
        let inputs: Vec<String> = step.inputs.iter().map(|input| format!("step{input}:0")).collect();
        described["inputs"] = inputs.into();
    }
    described
}

fn source(identifier: &str, images: &BTreeMap<String, &Digest>) -> Value {
    let pinned = match images.get(identifier) {
        Some(digest) if !identifier.contains('@') => format!("{identifier}@{digest}"),
        _ => super::provenance::without_credentials(identifier),
    };
    let mut source = json!({ "identifier": pinned });
    if let Some(name) = identifier.strip_prefix("local://") {
        source["attrs"] = json!({ "local.sharedkeyhint": name });
    }
    json!({ "source": source })
}

fn exec(step: &DoneStep) -> Value {
    let Operation::Exec { args, env, cwd, user, network, insecure, mounts } = &step.operation else {
        return Value::Null;
    };
    let mut meta = json!({ "args": args, "env": env, "cwd": cwd, "removeMountStubsRecursive": true });
    if !user.is_empty() {
        meta["user"] = user.as_str().into();
    }
    let mut root = json!({ "dest": "/" });
    if !step.is_upon {
        root["input"] = NOTHING.into();
    }
    let is_variable = |mount: &Mount| mount.kind == MountKind::Secret && mount.env.is_some();
    let shown = mounts.iter().filter(|(of, _)| !is_variable(of) || !of.target.is_empty());
    let all: Vec<Value> = std::iter::once(root).chain(shown.map(|(of, input)| mount(of, *input))).collect();
    let mut exec = json!({ "meta": meta, "mounts": all });
    let variables: Vec<Value> = mounts
        .iter()
        .filter_map(|(of, _)| {
            let name = of.env.as_ref()?;
            let mut variable = json!({ "ID": of.id.as_deref().unwrap_or_default(), "name": name });
            if !of.required {
                variable["optional"] = true.into();
            }
            Some(variable)
        })
        .collect();
    if !variables.is_empty() {
        exec["secretenv"] = variables.into();
    }
    match network.as_str() {
        "host" => exec["network"] = 1.into(),
        "none" => exec["network"] = 2.into(),
        _ => {}
    }
    if *insecure {
        exec["security"] = 1.into();
    }
    json!({ "exec": exec })
}

fn mount(of: &Mount, input: Option<usize>) -> Value {
    let id = of.id.clone().unwrap_or_else(|| of.target.clone());
    let input = input.and_then(|input| i64::try_from(input).ok()).unwrap_or(NOTHING);
    let mut mount = json!({ "dest": of.target, "input": input });
    // What is written there is no part of the result.
    let mut kind = |number: u32, output: bool| {
        if number > 0 {
            mount["mountType"] = number.into();
        }
        if output {
            mount["output"] = NOTHING.into();
        }
    };
    let permissions = |options: &mut Value, mode: u32| {
        options["mode"] = of.mode.unwrap_or(mode).into();
        for (name, owner) in [("uid", of.uid), ("gid", of.gid)] {
            options.as_object_mut().into_iter().for_each(|options| {
                options.extend(owner.filter(|owner| *owner > 0).map(|owner| (name.to_owned(), owner.into())));
            });
        }
        if !of.required {
            options["optional"] = true.into();
        }
    };
    match of.kind {
        MountKind::Bind => kind(0, true),
        MountKind::Cache => {
            kind(3, true);
            let mut options = json!({ "ID": id });
            match of.sharing {
                Sharing::Shared => {}
                Sharing::Private => options["sharing"] = 1.into(),
                Sharing::Locked => options["sharing"] = 2.into(),
            }
            mount["cacheOpt"] = options;
        }
        MountKind::Tmpfs => {
            kind(4, true);
            mount["TmpfsOpt"] = of.size.map_or(json!({}), |size| json!({ "size": size }));
        }
        MountKind::Secret => {
            kind(1, false);
            let mut options = json!({ "ID": id });
            permissions(&mut options, SECRET_MODE);
            mount["secretOpt"] = options;
        }
        MountKind::Ssh => {
            kind(2, false);
            let mut options = json!({ "ID": of.id.as_deref().unwrap_or("default") });
            permissions(&mut options, AGENT_MODE);
            mount["SSHOpt"] = options;
        }
    }
    if of.kind == MountKind::Bind || of.kind == MountKind::Cache {
        if !matches!(of.source.as_str(), "" | "/" | ".") {
            mount["selector"] = of.source.as_str().into();
        }
        if of.readonly {
            mount["readonly"] = true.into();
        }
    }
    mount
}

fn file(step: &DoneStep) -> Value {
    let Operation::File { sources, dest, owner, mode, unpacks } = &step.operation else { return Value::Null };
    let is_remote = |source: &str| source.contains("://") || source.starts_with("git@");
    // Addresses come first among the inputs, then the folder that all other sources are of.
    let first = i64::from(step.is_upon);
    let folder = i64::try_from(step.inputs.len()).unwrap_or(0) - 1;
    let (mut addresses, mut actions) = (0, Vec::new());
    for (n, source) in sources.iter().enumerate() {
        let from = match is_remote(source) {
            true => {
                addresses += 1;
                first + addresses - 1
            }
            false => folder,
        };
        let path = match is_remote(source) {
            true => "/".to_owned(),
            false => dray_spec::glob::clean_path(&format!("/{source}")),
        };
        let mut copy = json!({
            "src": path,
            "dest": dest,
            "mode": mode.as_deref().and_then(octal).map_or(NOTHING, i64::from),
            "timestamp": NOTHING,
            "followSymlink": true,
            "dirCopyContents": true,
            "createDestPath": true,
            "allowWildcard": true,
            "allowEmptyWildcard": true,
        });
        if let Some(text) = mode.as_deref().filter(|text| octal(text).is_none()) {
            copy["modeStr"] = text.into();
        }
        if *unpacks {
            copy["attemptUnpackDockerCompatibility"] = true.into();
        }
        if let Some(owner) = owner.as_deref().and_then(ids) {
            copy["owner"] = owner;
        }
        let (inputs, last) = (i64::try_from(step.inputs.len()).unwrap_or(0), n + 1 == sources.len());
        // Each goes onto what the one before it gave.
        let onto = match n.checked_sub(1).and_then(|before| i64::try_from(before).ok()) {
            Some(before) => inputs + before,
            None if step.is_upon => 0,
            None => NOTHING,
        };
        actions.push(json!({
            "Action": { "copy": copy },
            "input": onto,
            "secondaryInput": from,
            "output": if last { 0 } else { NOTHING },
        }));
    }
    json!({ "file": { "actions": actions } })
}

fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok()
}

/// `user[:group]` as BuildKit has it where both are numbers; names are the image's.
fn ids(text: &str) -> Option<Value> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    let by = |name: &str| -> Value {
        match name.parse::<u32>() {
            Ok(id) => json!({ "User": { "byId": id } }),
            Err(_) => json!({ "User": { "byName": { "name": name, "input": 0 } } }),
        }
    };
    (!user.is_empty()).then(|| json!({ "user": by(user), "group": by(group) }))
}
