//! What an image has installed, as its files say: each kind of database, metadata and program.
#![no_main]

use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use dray_scan::Subject;
use libfuzzer_sys::fuzz_target;

/// Where each kind of file is looked for.
const PLACES: [&str; 8] = [
    "var/lib/dpkg/status",
    "lib/apk/db/installed",
    "var/lib/rpm/rpmdb.sqlite",
    "usr/lib/python3/site-packages/a-1.dist-info/METADATA",
    "usr/lib/python3/site-packages/a-1.egg-info/PKG-INFO",
    "app/node_modules/a/package.json",
    "etc/os-release",
    "usr/bin/program",
];

// In memory: a disk that is waited for leaves a few tries a second.
fuzz_target!(|bytes: &[u8]| {
    let Some((place, content)) = bytes.split_first() else { return };
    dray_scan::fuzzing::rpm(content);
    let root = tempfile::tempdir_in("/dev/shm").expect("folder");
    let file = root.path().join(PLACES[usize::from(*place) % PLACES.len()]);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("folder");
    std::fs::write(&file, content).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("mode");
    let folder = std::fs::File::open(root.path()).expect("folder");
    let inventory = dray_scan::scan(folder.as_fd()).expect("whatever is wrong with a file");
    let subject = Subject { name: "a".into(), ..Subject::default() };
    let (spdx, cyclonedx) =
        (dray_scan::spdx(&inventory, &subject), dray_scan::cyclonedx(&inventory, &subject));
    assert!(spdx.is_object() && cyclonedx.is_object());
});
