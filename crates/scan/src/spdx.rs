//! SPDX 2.3 as JSON.

use serde_json::{Value, json};

use crate::Subject;
use crate::inventory::{Inventory, Package, System};

const NOTHING_SAID: &str = "NOASSERTION";
const ROOT: &str = "SPDXRef-DocumentRoot";

/// The document of an inventory.
#[must_use]
pub fn spdx(inventory: &Inventory, subject: &Subject) -> Value {
    let system = inventory.system.as_ref();
    let described = inventory.packages.iter().enumerate().map(|(n, p)| (id(n, p), p));
    let described: Vec<(String, &Package)> = described.collect();
    let mut packages = vec![json!({
        "SPDXID": ROOT,
        "name": subject.name,
        "downloadLocation": NOTHING_SAID,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING_SAID,
        "licenseDeclared": NOTHING_SAID,
        "copyrightText": NOTHING_SAID,
        "primaryPackagePurpose": "CONTAINER",
    })];
    packages.extend(described.iter().map(|(id, found)| package(id, found, system)));
    let relation = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", ROOT)];
    relations.extend(described.iter().map(|(id, _)| relation(ROOT, "CONTAINS", id)));
    let (tool, version) = &subject.tool;
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        "documentNamespace": format!("urn:uuid:{}", subject.id),
        "creationInfo": {
            "created": whole_seconds(&subject.created),
            "creators": [format!("Tool: {tool}-{version}")],
        },
        "packages": packages,
        "relationships": relations,
    })
}

fn package(id: &str, package: &Package, system: Option<&System>) -> Value {
    let mut described = json!({
        "SPDXID": id,
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": NOTHING_SAID,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING_SAID,
        "licenseDeclared": NOTHING_SAID,
        "copyrightText": NOTHING_SAID,
        "sourceInfo": format!("found in /{}", package.found_in),
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": package.purl(system),
        }],
    });
    // What it says need not be an expression of SPDX.
    if let Some(license) = &package.license {
        described["licenseComments"] = format!("The package says: {license}").into();
    }
    if let Some((source, version)) = &package.source {
        let text = format!("found in /{}; built from {source} {version}", package.found_in);
        described["sourceInfo"] = text.into();
    }
    described
}

/// An identifier has letters, digits, dots and dashes.
fn id(n: usize, package: &Package) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = package.name.chars().map(plain).collect();
    format!("SPDXRef-Package-{:?}-{name}-{n}", package.ecosystem)
}

/// SPDX has no fractions of seconds.
pub(crate) fn whole_seconds(time: &str) -> String {
    let whole = time.split('.').next().unwrap_or_default().trim_end_matches('Z');
    format!("{whole}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Ecosystem;

    #[test]
    fn every_package_is_described_and_related() {
        let mut inventory = Inventory::default();
        let mut zlib = Package::new(Ecosystem::Deb, "zlib1g", "1:1.3", "var/lib/dpkg/status");
        zlib.source = Some(("zlib".into(), "1:1.3".into()));
        inventory.packages.insert(zlib);
        let mut node = Package::new(Ecosystem::Node, "@a/b", "1.0", "app/node_modules/@a/b/package.json");
        node.license = Some("MIT".into());
        inventory.packages.insert(node);
        let subject = Subject {
            name: "app".into(),
            id: "00000000-0000-8000-8000-000000000000".into(),
            created: "2026-01-02T03:04:05.678Z".into(),
            tool: ("dray".into(), "0.1.0".into()),
        };
        let document = spdx(&inventory, &subject);
        assert_eq!(document["creationInfo"]["created"], "2026-01-02T03:04:05Z");
        assert_eq!(document["creationInfo"]["creators"][0], "Tool: dray-0.1.0");
        let packages = document["packages"].as_array().unwrap();
        assert_eq!(packages[1]["externalRefs"][0]["referenceLocator"], "pkg:deb/debian/zlib1g@1:1.3");
        assert_eq!(packages[1]["sourceInfo"], "found in /var/lib/dpkg/status; built from zlib 1:1.3");
        assert_eq!(packages[2]["SPDXID"], "SPDXRef-Package-Node--a-b-1");
        assert_eq!(packages[2]["licenseComments"], "The package says: MIT");
        assert_eq!(document["relationships"][2]["relatedSpdxElement"], packages[2]["SPDXID"]);
    }
}
