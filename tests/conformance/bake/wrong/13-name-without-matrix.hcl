target "default" {
  name = "other"
}
