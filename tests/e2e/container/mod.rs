//! `container` commands.

mod attach;
mod cdi;
mod cgroup;
mod commit;
mod cp;
mod exec;
mod inspect;
mod kill;
mod lifecycle;
mod logs;
mod ps;
mod races;
mod resources;
mod restart_policy;
mod rm;
mod run;
mod stop;
mod tty;
mod update;
