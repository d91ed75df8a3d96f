group "default" { targets = ["app", "pairs", "plain"] }
target "app" {
  name = "app-${item.name}"
  matrix = {
    item = [
      { name = "api", port = 8080, extra = ["a"] },
      { name = "web", port = 80, extra = [] },
    ]
  }
  args = { PORT = item.port }
  tags = concat(["example/${item.name}"], [for x in item.extra : "example/${item.name}:${x}"])
}
target "pairs" {
  name   = "${replace(os, "/", "-")}-go${sanitize(go)}"
  matrix = {
    os = ["linux/amd64", "linux/arm64"]
    go = ["1.23", "1.24"]
  }
  platforms = [os]
  args      = { GO = go }
}
target "plain" {
  name   = "plain-${x}"
  matrix = { x = ["one"] }
  inherits = ["app-api"]
}
