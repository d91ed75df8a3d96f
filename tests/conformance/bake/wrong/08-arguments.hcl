target "default" {
  dockerfile = upper()
}
