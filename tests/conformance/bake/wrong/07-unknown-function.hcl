target "default" {
  dockerfile = uper("x")
}
