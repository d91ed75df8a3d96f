target "default" {
  dockerfile = upper("a", "b")
}
