target "default" {
  contexts = {
    base   = "target:base"
    tools  = "target:tools"
    alpine = "docker-image://alpine:3"
    gone   = ""
  }
}
target "base" {
  entitlements = ["network.host"]
  output = ["type=image"]
}
target "tools" {
  network  = "host"
  contexts = { base = "target:base" }
}
