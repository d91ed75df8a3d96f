target "default" {
  args = { A = jsondecode(base64decode("!")) }
}
