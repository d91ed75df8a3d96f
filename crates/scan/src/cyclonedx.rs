//! CycloneDX 1.6 as JSON.

use serde_json::{Value, json};

use crate::Subject;
use crate::inventory::{Inventory, Package, System};
use crate::spdx::whole_seconds;

/// The document of an inventory.
#[must_use]
pub fn cyclonedx(inventory: &Inventory, subject: &Subject) -> Value {
    let system = inventory.system.as_ref();
    let (tool, version) = &subject.tool;
    let mut components: Vec<Value> = system.map(operating_system).into_iter().collect();
    components.extend(inventory.packages.iter().enumerate().map(|(n, found)| component(n, found, system)));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", subject.id),
        "version": 1,
        "metadata": {
            "timestamp": whole_seconds(&subject.created),
            "tools": { "components": [{ "type": "application", "name": tool, "version": version }] },
            "component": { "type": "container", "bom-ref": "image", "name": subject.name },
        },
        "components": components,
    })
}

fn operating_system(system: &System) -> Value {
    json!({
        "type": "operating-system",
        "bom-ref": "system",
        "name": system.id,
        "version": system.version,
        "description": system.name,
    })
}

fn component(n: usize, package: &Package, system: Option<&System>) -> Value {
    let purl = package.purl(system);
    let mut component = json!({
        "type": "library",
        // The same package may be there twice.
        "bom-ref": format!("{purl}#{n}"),
        "name": package.name,
        "version": package.version,
        "purl": purl,
        "evidence": { "occurrences": [{ "location": format!("/{}", package.found_in) }] },
    });
    if let Some(license) = &package.license {
        component["licenses"] = json!([{ "license": { "name": license } }]);
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Ecosystem;

    #[test]
    fn packages_are_components() {
        let system = System { id: "alpine".into(), version: "3.20".into(), name: "Alpine".into() };
        let mut inventory = Inventory { system: Some(system), ..Inventory::default() };
        let mut musl = Package::new(Ecosystem::Apk, "musl", "1.2.5-r0", "lib/apk/db/installed");
        musl.license = Some("MIT".into());
        inventory.packages.insert(musl);
        let document = cyclonedx(&inventory, &Subject { name: "app".into(), ..Subject::default() });
        assert_eq!(document["metadata"]["component"]["name"], "app");
        assert_eq!(document["components"][0]["type"], "operating-system");
        let musl = &document["components"][1];
        assert_eq!(musl["purl"], "pkg:apk/alpine/musl@1.2.5-r0?distro=alpine-3.20");
        assert_eq!(musl["licenses"][0]["license"]["name"], "MIT");
        assert_eq!(musl["evidence"]["occurrences"][0]["location"], "/lib/apk/db/installed");
    }
}
