target "default" {
  dockerfile = "x" ? "a" : "b"
}
