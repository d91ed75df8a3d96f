# Groups of groups, and a target that is in both.
group "default" {
  targets = ["app", "tools"]
}
group "tools" {
  description = "what developers use"
  targets     = ["lint", "docs", "app"]
}
target "app" {
  description = "the server"
  dockerfile  = "Dockerfile.app"
  tags        = ["example/app:latest", "example/app:latest", ""]
}
target "lint" {
  target = "lint"
  output = ["type=cacheonly"]
}
target "docs" {
  context = "./docs//site/"
  output  = ["./out"]
}
unknown "block" {
  left = "alone"
}
