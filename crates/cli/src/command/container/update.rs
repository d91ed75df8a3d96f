//! `update`.

use dray_client::api::container::{ContainerUpdateRequest, RestartPolicy};

use super::options;
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, bytes, int, text};
use crate::opts::limit;
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
    text("memory-swap", NONE, "Limit of memory and swap together; -1 for unlimited swap")
        .shown("bytes")
        .check(limit::check_swap),
    int("memory-swappiness", NONE, "").default("-1").hidden(),
    int("pids-limit", NONE, "How many processes it may have (-1 for any number)").default("0"),
    text("restart", NONE, "When to start it again after it ended"),
];

/// `update`
pub static COMMAND: Command = Command::new(
    "update",
    &["[OPTIONS] CONTAINER [CONTAINER...]"],
    Args::AtLeast(1),
    "Change the limits of containers",
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
    let client = app.client()?;
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for name in &p.args {
        match client.container_update(name, &request).await {
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
