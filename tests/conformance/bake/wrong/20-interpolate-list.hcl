target "default" {
  dockerfile = "a${["x"]}"
}
