target "default" {
  cache-to = [{ ref = "x" }]
}
