//! `update`.

use dray_client::api::container::{ContainerUpdateRequest, ContainerUpdateResponse, RestartPolicy};
use dray_client::api::extension::ContainerLiveUpdateRequest;

use super::options;
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, bytes, int, list, text};
use crate::opts::{limit, mount, port};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    int("blkio-weight", NONE, "Weight of block I/O, from 10 to 1000, 0 for none")
        .shown("uint16")
        .default("0"),
    int("cpu-period", NONE, "Period of the CPU quota in microseconds").default("0"),
    int("cpu-quota", NONE, "CPU time per period in microseconds").default("0"),
    int("cpu-rt-period", NONE, "Period of real-time scheduling in microseconds").default("0"),
    int("cpu-rt-runtime", NONE, "Real-time CPU time per period in microseconds").default("0"),
    int("cpu-shares", 'c', "CPU weight, relative to other containers").default("0"),
    text("cpus", NONE, "How many CPUs it may use").shown("decimal").check(limit::check_cpus),
    text("cpuset-cpus", NONE, "CPUs that it may run on (0-3, 0,1)"),
    text("cpuset-mems", NONE, "Memory nodes that it may use (0-3, 0,1)"),
    bytes("memory", 'm', "Limit of memory"),
    bytes("memory-reservation", NONE, "Memory it keeps when memory is short"),
    list("mount-add", NONE, "Mount something more, as --mount of run")
        .shown("mount")
        .check(mount::check_value),
    list("mount-rm", NONE, "Take away what is mounted at a path").shown("path"),
    text("memory-swap", NONE, "Limit of memory and swap together; -1 for unlimited swap")
        .shown("bytes")
        .check(limit::check_swap),
    int("memory-swappiness", NONE, "").default("-1").hidden(),
    int("pids-limit", NONE, "How many processes it may have (-1 for any number)").default("0"),
    list("publish-add", NONE, "Publish a port more, as --publish of run").shown("port"),
    list(
        "publish-rm",
        NONE,
        "Withdraw a published port, as it was given to --publish, or by the container's port alone",
    )
    .shown("port"),
    text("restart", NONE, "When to start it again after it ended"),
];

/// `update`
pub static COMMAND: Command = Command::new(
    "update",
    &["[OPTIONS] CONTAINER [CONTAINER...]"],
    Args::AtLeast(1),
    "Change limits, ports and mounts of containers",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["container update", "update"]);

async fn run(app: &App, p: Parsed) -> Done {
    if !FLAGS.iter().any(|f| p.given(f.long)) {
        return Err(Error::Refused("you must provide one or more flags when using this command".into()));
    }
    let restart_policy = match p.get("restart") {
        "" => RestartPolicy::default(),
        text => limit::restart_policy(text).map_err(Error::Refused)?,
    };
    let request =
        ContainerUpdateRequest { restart_policy, resources: options::resources(&p).map_err(Error::Refused)? };
    let live = live(&p, &request)?;
    let client = app.client()?;
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for name in &p.args {
        let updated: Result<ContainerUpdateResponse, _> = match &live {
            Some(live) => client.container_update_live(name, live).await,
            None => client.container_update(name, &request).await,
        };
        match updated {
            Ok(response) => {
                app.print(format!("{name}\n"))?;
                warnings.extend(response.warnings.unwrap_or_default());
            }
            Err(e) => errors.push(e.into()),
        }
    }
    for warning in warnings {
        app.print(format!("{warning}\n"))?;
    }
    Error::all(errors).map(|()| 0)
}

const LIVE: [&str; 4] = ["mount-add", "mount-rm", "publish-add", "publish-rm"];

/// What is Dray's own: ports and mounts, with everything else that was asked for so that all is done or nothing.
fn live(p: &Parsed, request: &ContainerUpdateRequest) -> Result<Option<ContainerLiveUpdateRequest>, Error> {
    if !LIVE.iter().any(|flag| p.given(flag)) {
        return Ok(None);
    }
    let ports =
        |flag: &str| port::parse(&p.all(flag), &[]).map(|ports| ports.bindings).map_err(Error::Refused);
    let mounts = p.all("mount-add").iter().map(|value| mount::parse(value)).collect::<Result<_, _>>();
    let others = FLAGS.iter().any(|flag| !LIVE.contains(&flag.long) && p.given(flag.long));
    Ok(Some(ContainerLiveUpdateRequest {
        publish_add: ports("publish-add")?,
        publish_remove: ports("publish-rm")?,
        mount_add: mounts.map_err(Error::Refused)?,
        mount_remove: p.all("mount-rm"),
        update: others.then(|| request.clone()),
    }))
}
