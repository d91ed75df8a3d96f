target "_common" {
  args = {
    GO_VERSION = "1.24"
    MODE       = "common"
  }
  labels = {
    "org.opencontainers.image.vendor" = "Example"
    "only" = null
  }
  cache-from  = ["type=registry,ref=example/cache", "type=gha"]
  annotations = ["manifest:a=b"]
  ulimits     = ["nofile=1024:2048"]
}
target "_multi" {
  platforms = ["linux/amd64", "linux/arm64"]
  args      = { MODE = "multi" }
  ulimits   = ["nofile=1024:2048", "nproc=10"]
}
target "default" {
  inherits   = ["_common", "_multi"]
  args       = { OWN = "1", GO_VERSION = null }
  labels     = { "version" = "1" }
  cache-from = ["type=gha", "type=local,src=cache"]
  pull       = true
}
target "circle-a" { inherits = ["circle-b"] }
target "circle-b" {
  inherits = ["circle-a"]
  target   = "b"
}
