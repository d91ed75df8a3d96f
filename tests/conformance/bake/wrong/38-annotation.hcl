target "default" {
  annotations = ["nokey"]
}
