target "default" {
  contexts = { x = "target:default" }
}
