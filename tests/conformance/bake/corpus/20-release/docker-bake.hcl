variable "VERSION" { default = "1.2.3-rc.1" }
variable "REGISTRY" { default = "" }
MAJOR = split(".", VERSION)[0]
IS_RELEASE = !can(regex("-", VERSION))
function "ref" {
  params = [image, tag]
  result = notequal("", REGISTRY) ? "${REGISTRY}/${image}:${tag}" : "${image}:${tag}"
}
group "default" { targets = ["image-local"] }
group "all" { targets = ["image-all", "validate"] }
group "validate" { targets = ["lint", "vendor"] }
target "docker-metadata-action" {}
target "_labels" {
  labels = {
    "org.opencontainers.image.version" = VERSION
    "org.opencontainers.image.title"   = "app"
  }
}
target "image" {
  inherits = ["docker-metadata-action", "_labels"]
  tags = compact([
    ref("app", VERSION),
    IS_RELEASE ? ref("app", "latest") : "",
    IS_RELEASE ? "" : ref("app", "edge"),
  ])
  args = { VERSION = VERSION, MAJOR = MAJOR }
}
target "image-local" {
  inherits = ["image"]
  output   = ["type=docker"]
}
target "image-all" {
  inherits  = ["image"]
  platforms = ["linux/amd64", "linux/arm/v7", "linux/arm64", "linux/riscv64"]
  attest    = ["type=provenance,mode=max", "type=sbom"]
}
target "lint" {
  name = "lint-${buildtags.name}"
  matrix = { buildtags = [{ name = "default", tags = "" }, { name = "nydus", tags = "nydus" }] }
  dockerfile = "./hack/lint.Dockerfile"
  output     = ["type=cacheonly"]
  args       = { TAGS = buildtags.tags }
}
target "vendor" {
  dockerfile = "./hack/vendor.Dockerfile"
  output     = ["."]
  call       = "check"
  shm-size   = "128m"
  network    = "none"
  extra-hosts = { db = "10.0.0.2" }
  no-cache-filter = ["a", "b", "a"]
}
