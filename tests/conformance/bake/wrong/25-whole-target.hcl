target "default" {
  args = target
}
