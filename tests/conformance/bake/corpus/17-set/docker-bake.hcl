group "default" { targets = ["app-a", "app-b", "tool"] }
target "app-a" {
  tags       = ["a:1"]
  args       = { X = "1" }
  cache-from = ["type=gha"]
  output     = ["type=image"]
  platforms  = ["linux/amd64"]
}
target "app-b" {
  inherits = ["app-a"]
  tags     = ["b:1"]
}
target "tool" {
  output = ["type=local,dest=out"]
}
